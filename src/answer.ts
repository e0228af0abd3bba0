/** One request being answered: tokens in, events out. */

import { createSampler, type Sampler } from './decode/sampling.ts'
import type { Job } from './decode/scheduler.ts'
import { createStopMatcher, type StopMatcher } from './decode/stop.ts'
import { ForetokenError } from './errors.ts'
import type { GenerateOptions } from './options.ts'
import { createDetokenizer, type Detokenizer } from './stream/detokenize.ts'
import type { DoneEvent, GenerateEvent } from './stream/events.ts'
import type { Tokenizer } from './tokens/tokenizer.ts'
import type { Trace } from './trace.ts'

/** What an answer takes from its engine. */
export interface AnswerContext {
  readonly tokenizer: Tokenizer
  readonly eosIds: readonly number[]
  /** Tokens that prompt and answer may have together. */
  readonly context: number
  readonly trace: Trace
  readonly signal: AbortSignal
  /** What only the engine knows of a finished answer. */
  finish(promptTokens: number, tokens: number): Pick<DoneEvent, 'timings' | 'memory' | 'build'>
}

export class Answer implements Job {
  readonly ids: readonly number[]
  readonly tenant: string
  readonly signal: AbortSignal
  /** What has happened and was not read yet. */
  readonly events: GenerateEvent[]
  ended = false
  error: ForetokenError | undefined
  readonly #options: GenerateOptions
  readonly #with: AnswerContext
  readonly #sampler: Sampler
  readonly #detokenizer: Detokenizer
  readonly #stops: StopMatcher
  readonly #eos: ReadonlySet<number>
  readonly #room: number
  readonly #limit: number
  /** Prompt and answer. */
  readonly #history: number[]
  #text = ''
  #cached = 0

  /** Throws `bad_argument` for options out of their range. */
  constructor(ids: readonly number[], tenant: string, options: GenerateOptions, context: AnswerContext) {
    this.ids = ids
    this.tenant = tenant
    this.signal = context.signal
    this.events = [{ type: 'prompt', ids }]
    this.#options = options
    this.#with = context
    this.#sampler = createSampler(options)
    this.#detokenizer = createDetokenizer(context.tokenizer)
    this.#stops = createStopMatcher(options.stop ?? [])
    this.#eos = new Set(options.ignoreEos ? [] : context.eosIds)
    this.#room = context.context - ids.length
    this.#limit = Math.min(whole(options.maxTokens ?? this.#room), this.#room)
    this.#history = [...ids]
  }

  onPrefill(done: number, total: number): void {
    if (this.#with.trace.mark('begun')) this.#cached = done
    else this.#options.onPrefill?.(done, total)
  }

  take(logits: Float32Array): number | undefined {
    const { trace } = this.#with
    trace.mark('prefilled')
    if (this.#limit === 0) return this.#finish(false)
    const token = this.#sampler.sample(logits, this.#history, this.ids.length)
    this.#history.push(token.id)
    const eos = this.#eos.has(token.id)
    const shown = this.#stops.push(eos ? '' : this.#detokenizer.push(token.id))
    const ended = shown.stopped || eos
    const last = ended || this.#history.length - this.ids.length >= this.#limit
    const text = last && !shown.stopped ? shown.text + this.#flush() : shown.text
    this.#text += text
    trace.mark('first')
    trace.mark('done')
    this.events.push({ type: 'token', text, ...token })
    return last ? this.#finish(ended) : token.id
  }

  end(error?: ForetokenError): void {
    this.ended = true
    this.error = error
  }

  #flush(): string {
    return this.#stops.push(this.#detokenizer.flush()).text + this.#stops.flush()
  }

  #finish(ended: boolean): undefined {
    const ids = this.#history.slice(this.ids.length)
    this.events.push({
      type: 'done',
      finishReason: ended ? 'stop' : ids.length === this.#room ? 'context' : 'length',
      text: this.#text,
      ids,
      cached_tokens: this.#cached,
      prefill: 'exact',
      ...this.#with.finish(this.ids.length, ids.length),
    })
  }
}

function whole(maxTokens: number): number {
  if (Number.isInteger(maxTokens) && maxTokens >= 0) return maxTokens
  throw new ForetokenError('bad_argument', `maxTokens is ${maxTokens}; it must be a whole number from 0`)
}
