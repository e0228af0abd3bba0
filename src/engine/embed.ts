/**
 * Makes embeddings of texts. Each text is a job of the scheduler, so texts share passes with each
 * other and with all other requests; their pages are freed as soon as they have been read.
 */

import { fieldsOf, idsOf, listOf, oneOf, signalOf, textOf, withArguments, wrong } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import type { ModelArchive, Pooling } from '../base/model.ts'
import { poolings } from '../base/model.ts'
import { nextTurn } from '../base/next-turn.ts'
import { isWhole } from '../base/numbers.ts'
import type { Scheduler } from '../decode/scheduler.ts'
import { plainEmbedding } from '../model/embedding-spec.ts'
import type { LoadedModel } from '../model/forward.ts'
import type { Tokenizer } from '../tokens/tokenizer.ts'
import { runBulk } from './bulk.ts'
import { Pool, type VectorForm, vectorOf } from './pooling.ts'

/** One text or several, or the token ids of one or of several, which are used as they are. */
export type EmbedInput = string | readonly string[] | readonly number[] | readonly (string | readonly number[])[]

export interface EmbedOptions {
  /**
   * What the texts are: `query`, `document`, or another name of a prompt in the model's
   * configuration, which is put before each text. Default: the model's.
   */
  readonly kind?: string
  /** A text to put before each text, in place of the model's own. */
  readonly prefix?: string
  /** How states become a vector. Default: the model's; a model without one needs it. */
  readonly pooling?: Pooling
  /** Whether vectors are scaled to length 1. Default: as the model's configuration says. */
  readonly normalize?: boolean
  /** Keeps the first this many numbers of a vector. Default: all. */
  readonly dimensions?: number
  /** Tenants take turns. Default ''. */
  readonly tenant?: string
  readonly signal?: AbortSignal | undefined
  /** Called after each text, with the number of texts that are done and of all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

export interface Embeddings {
  /** One vector for each text, in their order. */
  readonly vectors: readonly Float32Array<ArrayBuffer>[]
  /** Number of tokens of each text, with those that the model puts around it. */
  readonly tokens: readonly number[]
}

export interface BulkEngine {
  readonly archive: ModelArchive
  readonly tokenizer: Tokenizer
  readonly context: number
  readonly model: Pick<LoadedModel, 'passTokens' | 'bothWays' | 'project'>
  readonly scheduler: Pick<Scheduler, 'add' | 'drive'>
}

/** How a call makes vectors, and what it puts before texts. */
export interface Way extends VectorForm {
  readonly pooling: Pooling
  readonly prefix: string
}

/**
 * Makes an embedding of each text. Rejects with `unsupported` for a model that was not made for it,
 * `bad_argument`, `empty_prompt`, `context_exceeded`, `busy` and `aborted`.
 */
export async function embed(engine: BulkEngine, input: EmbedInput, unchecked: EmbedOptions): Promise<Embeddings> {
  const { archive, scheduler, model } = engine
  const { passTokens, bothWays: whole } = model
  const { inputs, options, way } = withArguments('embed', () => {
    const checked = checkedEmbed(archive, input, unchecked)
    return { ...checked, way: wayOf(archive, checked.options) }
  })
  const { endIds } = archive.embedding ?? plainEmbedding
  const advice = 'shorten it, or load with a larger context'
  const frame = { before: [], after: endIds, bos: true, most: engine.context, advice }
  const texts: (readonly number[])[] = []
  for (const [index, one] of inputs.entries())
    texts.push(
      typeof one === 'string'
        ? await idsOfText(engine.tokenizer, frame, way.prefix, one, nameOfText(input, index), options.signal)
        : one,
    )
  const { hidden, dense } = archive.config
  const vectors: Float32Array<ArrayBuffer>[] = []
  const means: Float32Array[] = []
  const jobs = texts.map((ids, index) => {
    const pool = new Pool(way.pooling, hidden)
    const { rows } = pool
    const read = (states: Float32Array, position: number) => {
      pool.read(states)
      const complete = rows === 'first' || position + states.length / hidden === ids.length
      if (complete && dense) means[index] = Float32Array.from(pool.mean())
      else if (complete) vectors[index] = vectorOf(pool.mean(), way)
    }
    return { ids, states: { rows, read }, whole, onBegin: () => pool.reset(), chooseTokens: neverChooses }
  })
  const { tenant = '', signal, onProgress } = options
  await runBulk(scheduler, jobs, { tenant, signal, window: 2 * passTokens, onProgress })
  if (dense) for (const vector of await model.project(means)) vectors.push(vectorOf(vector, way))
  return { vectors, tokens: texts.map(({ length }) => length) }
}

/** Checks what a call was given, except how it makes vectors. */
export function checkedEmbed({ config }: Pick<ModelArchive, 'config'>, input: EmbedInput, unchecked: EmbedOptions) {
  const options = fieldsOf('the options', unchecked, 'be absent')
  signalOf('signal', options.signal)
  return { inputs: inputsOf(input, config.vocab), options }
}

function neverChooses(): undefined {
  throw new ForetokenError('internal', 'an embedding was given scores')
}

function inputsOf(input: EmbedInput, vocab: number): readonly (string | readonly number[])[] {
  if (typeof input === 'string') return [nonEmpty(input, theText)]
  // `map` would skip the holes of a sparse list.
  const list = Array.from(listOf<unknown>('the texts', input))
  if (typeof list[0] === 'number') return [nonEmpty(idsOf('the token ids', list, vocab), theText)]
  return list.map((one, index) => {
    if (typeof one === 'string') return nonEmpty(one, `text ${index}`)
    if (Array.isArray(one)) return nonEmpty(idsOf(`texts[${index}]`, one, vocab), `text ${index}`)
    throw wrong(`texts[${index}]`, 'a text or a list of token ids', one)
  })
}

const theText = 'the text'

/** Returns the name of a text for messages: one that was given alone has no number. */
export function nameOfText(input: EmbedInput, index: number): string {
  return typeof input === 'string' || typeof input[0] === 'number' ? theText : `text ${index}`
}

/**
 * Returns a text, or its ids, unless it is empty: what the model puts around a text would make a vector
 * of none.
 */
function nonEmpty<T extends { readonly length: number }>(text: T, name: string): T {
  if (text.length > 0) return text
  throw new ForetokenError('empty_prompt', `${name} has no tokens; give it at least one character`)
}

/** Returns the way of a call: what its options say, else the model's own. */
export function wayOf(
  { name, config, embedding: spec = plainEmbedding }: Pick<ModelArchive, 'name' | 'config' | 'embedding'>,
  options: EmbedOptions,
): Way {
  const width = config.dense?.at(-1) ?? config.hidden
  const { pooling = spec.pooling, normalize = spec.normalize, dimensions = width } = options
  if (options.pooling === undefined && spec.refused !== undefined)
    throw new ForetokenError(
      'unsupported',
      `${name} makes embeddings in a way that is not computed: ${spec.refused}; use another model, or choose a pooling (${poolings.join(', ')}) yourself`,
    )
  if (pooling === undefined && spec.ranks)
    throw new ForetokenError(
      'unsupported',
      `${name} is not an embedding model but a reranker: use rerank (POST /v1/rerank)`,
    )
  if (pooling === undefined)
    throw new ForetokenError(
      'unsupported',
      `${name} is not an embedding model: its files name no pooling; use one that does, such as Qwen3-Embedding, or choose a pooling (${poolings.join(', ')}) yourself`,
    )
  if (typeof normalize !== 'boolean') throw wrong('normalize', 'true or false', normalize)
  if (!isWhole(dimensions, 1, width))
    throw wrong('dimensions', `a whole number from 1 to ${width}, the numbers of a vector of ${name}`, dimensions)
  return { pooling: oneOf('pooling', pooling, poolings), normalize, dimensions, prefix: prefixOf(name, spec, options) }
}

function prefixOf(name: string, spec: typeof plainEmbedding, { prefix, kind }: EmbedOptions): string {
  if (prefix !== undefined) return textOf('prefix', prefix)
  const wanted = kind === undefined ? spec.defaultPrompt : textOf('kind', kind)
  if (wanted === undefined) return ''
  if (Object.hasOwn(spec.prompts, wanted)) return spec.prompts[wanted] ?? ''
  // A model without a prompt for documents embeds them as they are.
  if (wanted === 'document') return ''
  const known = Object.keys(spec.prompts)
  throw new ForetokenError(
    'bad_argument',
    `${name} has no prompt named ${JSON.stringify(wanted.slice(0, 60))}; ${known.length > 0 ? `it has ${known.join(', ')}` : 'its files have none'}; give the text itself (prefix, --text-prefix) instead`,
    { argument: 'kind' },
  )
}

/** What a model puts around a text. */
export interface TextFrame {
  readonly before: readonly number[]
  readonly after: readonly number[]
  /** Whether a text begins with BOS, if the model uses one. */
  readonly bos: boolean
  /** Maximum number of tokens of a text, with what is around it. */
  readonly most: number
  /** What to do about a text that is too long. */
  readonly advice: string
}

/** Returns the ids of a text between what the model puts around it. */
export async function idsOfText(
  tokenizer: Tokenizer,
  { before, after, bos, most, advice }: TextFrame,
  prefix: string,
  text: string,
  name: string,
  signal: AbortSignal | undefined,
): Promise<readonly number[]> {
  const room = most - before.length - after.length
  // A special token in a text is only letters; one in the model's own prefix is a token.
  const steps = tokenizer.encodeMarked(prefix + tokenizer.origin.mark(text), { bos, most: room })
  for (;;) {
    const { done, value } = steps.next()
    if (done && value.length > room)
      throw new ForetokenError(
        'context_exceeded',
        `${name}${prefix && ' with its prefix'} has more than ${room} tokens, and the context is ${most}${added(most - room)}; ${advice}`,
        { argument: 'texts' },
      )
    if (done) return nonEmpty([...before, ...value, ...after], name)
    await nextTurn(signal)
  }
}

function added(tokens: number): string {
  return tokens > 0 ? `, of which the model's own marks take ${tokens}` : ''
}
