/**
 * Reads the prompts of one engine. Short ones are read at once. Long ones, and those with an
 * expensive template, are read in a text worker if there is one, and otherwise in steps that let
 * the host go on. One long prompt is read at a time, and tenants take turns.
 */

import { throwIfAborted } from '../base/cancelled.ts'
import { signalOf, textOf, withArguments, wrong } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import { type Checks, callable, checkedFields, listWith, needed, wholeFrom } from '../base/fields.ts'
import type { TokenizerSpec } from '../base/model.ts'
import { nextTurn } from '../base/next-turn.ts'
import type { ChatMessage, PreparedPrompt, PromptChunk, PromptInput, PromptTimes, TokenRange } from '../base/prompt.ts'
import { NoWorker } from '../base/serial-worker.ts'
import { Trace } from '../base/trace.ts'
import { checkPrompt } from './checked-prompt.ts'
import { checkToolOptions } from './checked-tools.ts'
import type { Limits } from './jinja/budget.ts'
import { type ChunkWish, chunkSteps, chunksAt, mayHaveChunks } from './marked-chunks.ts'
import {
  isIds,
  isPrepared,
  type PromptOptions,
  promptChecks,
  promptIds,
  promptSteps,
  type ReadOptions,
} from './prompt.ts'
import { isOverBudget, lengthOf, shortLimitsFor } from './template.ts'
import type { SpawnText } from './text-messages.ts'
import { type Tokenizer, toEnd } from './tokenizer.ts'
import { createTokenizerGate } from './tokenizer-gate.ts'
import { TokenizerWorker } from './tokenizer-worker.ts'

/** How a prompt is prepared. */
export interface PrepareOptions extends PromptOptions {
  readonly signal?: AbortSignal | undefined
  /** Long prompts of one tenant queue behind each other; tenants take turns. Default ''. */
  readonly tenant?: string | undefined
  /** With `auto` the paragraphs of the prompt are chunks, as of a request. Ranges are those of a request. */
  readonly chunks?: 'auto' | readonly TokenRange[] | undefined
}

/** The checks of `PrepareOptions`. */
export const prepareChecks: Checks<PrepareOptions> = {
  ...promptChecks,
  signal: (name, value) => signalOf(name, value) as AbortSignal,
  tenant: textOf,
  chunks: chunksOf,
}

/** The checks of the options of `promptIds`. */
export const promptIdsChecks: Checks<PromptOptions & { readonly onTemplate?: () => void }> = {
  ...promptChecks,
  onTemplate: callable(),
}

/** A prompt as a request has it. */
interface Submitted extends PromptOptions {
  readonly prompt: PromptInput
  readonly chunks?: 'auto' | readonly TokenRange[] | undefined
}

const rangeChecks: Checks<TokenRange> = { from: needed(wholeFrom(0)), to: needed(wholeFrom(1)) }
const ranges = listWith((name, value) => checkedFields<TokenRange>(name, value, rangeChecks))

/** Checks for `auto`, and for ranges of token ids. */
export function chunksOf(name: string, value: unknown): 'auto' | readonly TokenRange[] {
  if (typeof value === 'string' && value !== 'auto')
    throw wrong(name, '"auto", or a list of ranges of token ids', value)
  return value === 'auto' ? value : ranges(name, value)
}

/** Characters up to which a prompt is read at once, in a millisecond or two. */
const short = 8192

/** Reads the prompts of one engine. */
export class Prompts {
  readonly #tokenizer: Tokenizer
  readonly #spec: TokenizerSpec
  readonly #context: number
  readonly #turns = createTokenizerGate({ maxWaiting: 256, maxWaitingPerTenant: 64 })
  #worker: TokenizerWorker | undefined
  #closed = false

  constructor(tokenizer: Tokenizer, spec: TokenizerSpec, context: number, spawn?: SpawnText) {
    this.#tokenizer = tokenizer
    this.#spec = spec
    this.#context = context
    this.#worker = spawn && new TokenizerWorker({ spawn, spec, context })
  }

  /**
   * Returns the ids of a prompt synchronously. Throws `empty_prompt`, `context_exceeded`, and what
   * the template throws.
   */
  ids(prompt: PromptInput, options: PromptOptions & Pick<ReadOptions, 'onTemplate'> = {}): number[] {
    return withArguments('promptIds', () => {
      checkPrompt(prompt)
      checkToolOptions(options)
      return promptIds(this.#tokenizer, this.#spec, prompt, { ...options, context: this.#context })
    })
  }

  /**
   * Reads a submitted prompt and begins the trace of its request. `chunks` are those that its parts
   * or ranges of its ids mark, and its paragraphs if they are asked for. Throws as `ids`, and
   * `bad_argument` for other ranges, and for paragraphs of ids.
   */
  accept({ prompt, chunks: wanted, ...options }: Submitted): {
    ids: number[]
    chunks: readonly PromptChunk[]
    trace: Trace
  } {
    return withArguments('the request', () => {
      checkPrompt(prompt)
      const trace = new Trace(isPrepared(prompt) ? prompt.times : undefined)
      const ids = this.ids(prompt, { ...options, onTemplate: () => trace.mark('templated') })
      const chunks = typeof wanted === 'object' ? chunksAt(ids, wanted) : this.#chunksOf(prompt, ids, wanted)
      trace.mark('tokenized')
      return { ids, chunks, trace }
    })
  }

  /**
   * Reads a prompt without blocking the host. Rejects with what `ids` throws, with `busy`, and with
   * `aborted`.
   */
  async prepare(prompt: PromptInput, prepareOptions: PrepareOptions = {}): Promise<PreparedPrompt> {
    return withArguments('prepare', () => {
      const options = checkedFields('the options', prepareOptions, prepareChecks, 'be absent')
      checkPrompt(prompt)
      checkToolOptions(options)
      return this.#prepare(prompt, options)
    })
  }

  #chunksOf(prompt: PromptInput, ids: readonly number[], wish: ChunkWish): readonly PromptChunk[] {
    if (isPrepared(prompt)) return prompt.chunks ?? []
    requireText(prompt, wish)
    return toEnd(chunkSteps(this.#tokenizer, prompt, ids, wish))
  }

  /** Ends the worker, and rejects the prompts that wait for it. */
  close(): void {
    this.#closed = true
    this.#turns.close(closed())
    this.#worker?.close()
  }

  async #prepare(
    prompt: PromptInput,
    { signal, tenant = '', chunks, ...others }: PrepareOptions,
  ): Promise<PreparedPrompt> {
    throwIfAborted(signal)
    if (isPrepared(prompt)) return prompt
    const wish = chunks === 'auto' ? chunks : undefined
    requireText(prompt, wish)
    const options = { ...others, ...(wish && { chunks: wish }) }
    const accepted = performance.now()
    if (isIds(prompt)) return prepared(this.ids(prompt, options), { accepted, tokenized: performance.now() })
    const messages = typeof prompt === 'string' ? [{ role: 'user', content: prompt } as const] : prompt
    const input = [messages, options.templateValues, options.tools]
    if (lengthOf(input) <= short)
      try {
        return await this.#inSteps(prompt, { ...options, limits: shortLimitsFor(input) }, accepted, signal)
      } catch (error) {
        if (!isOverBudget(error)) throw error
      }
    return this.#turns.run({ tenant, signal }, () => this.#long(prompt, options, accepted, signal))
  }

  async #long(
    prompt: string | readonly ChatMessage[],
    options: Reading,
    accepted: number,
    signal: AbortSignal | undefined,
  ): Promise<PreparedPrompt> {
    try {
      if (this.#worker) {
        const { ids, chunks, tokenizeMs } = await this.#worker.read(prompt, options, signal)
        const tokenized = performance.now()
        return prepared(ids, {
          accepted,
          ...(!options.raw && { templated: Math.max(accepted, tokenized - tokenizeMs) }),
          tokenized,
          chunks,
        })
      }
    } catch (error) {
      if (!(error instanceof NoWorker)) throw error
      this.#worker = undefined
    }
    return this.#inSteps(prompt, options, accepted, signal)
  }

  async #inSteps(
    prompt: string | readonly ChatMessage[],
    { chunks: wish, ...options }: Reading & { readonly limits?: Limits },
    accepted: number,
    signal: AbortSignal | undefined,
  ): Promise<PreparedPrompt> {
    let templated: number | undefined
    const onTemplate = () => {
      templated = performance.now()
    }
    const ids = await this.#turnByTurn(
      promptSteps(this.#tokenizer, this.#spec, prompt, { ...options, context: this.#context, onTemplate }),
      signal,
    )
    const chunks = mayHaveChunks(prompt, wish)
      ? await this.#turnByTurn(chunkSteps(this.#tokenizer, prompt, ids, wish), signal)
      : undefined
    const times = { accepted, ...(templated !== undefined && { templated }), tokenized: performance.now() }
    return prepared(ids, { ...times, chunks })
  }

  async #turnByTurn<T>(steps: Generator<void, T, void>, signal: AbortSignal | undefined): Promise<T> {
    for (;;) {
      const { done, value } = steps.next()
      if (done) return value
      await nextTurn(signal)
      if (this.#closed) throw closed()
    }
  }
}

/** How a prompt's text is read. */
type Reading = PromptOptions & { readonly chunks?: ChunkWish }

function requireText(prompt: PromptInput, wish: ChunkWish): void {
  if (wish === 'auto' && typeof prompt !== 'string' && isIds(prompt))
    throw new ForetokenError(
      'bad_argument',
      'chunks is "auto", which finds paragraphs of texts, and the prompt is token ids; give their ranges, or prepare the prompt with chunks: "auto"',
    )
}

/** Returns ids with their chunks as a prompt that is prepared now. */
export function preparedNow(ids: readonly number[], chunks: readonly PromptChunk[]): PreparedPrompt {
  const now = performance.now()
  return prepared([...ids], { accepted: now, tokenized: now, chunks })
}

function prepared(
  ids: number[],
  { chunks, ...times }: PromptTimes & { readonly chunks?: readonly PromptChunk[] | undefined },
): PreparedPrompt {
  return Object.assign(ids, { times, ...(chunks && { chunks }) })
}

function closed(): ForetokenError {
  return new ForetokenError('aborted', 'the engine was closed')
}
