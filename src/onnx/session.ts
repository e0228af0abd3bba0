/**
 * Runs a causal language model in ONNX with ONNX Runtime: an export with past and present K and V,
 * as optimum, transformers.js and onnxruntime-genai write them. The caller hands in the runtime
 * (`onnxruntime-web`, `onnxruntime-node`).
 *
 *     in    input_ids (1, n), attention_mask (1, past + n) or (1, 1, n, past + n),
 *           position_ids (1, n) and use_cache_branch if the model has them,
 *           past_key_values.L.key and .value (1, kvHeads, past, headDim)
 *     out   logits (1, n or 1, vocab), present.L.key and .value (1, kvHeads, past + n, headDim)
 */
import { ForetokenError } from '../base/errors.ts'
import type { OrtModule, OrtSession, OrtTensor } from './runtime.ts'
import { disposeAll, floatsOf, halves, logitsOf, type Outputs, outputOf } from './tensors.ts'

export interface OrtOptions {
  readonly ort: OrtModule
  /**
   * Execution providers, such as `['wasm']`, `['webgpu', 'wasm']` or `['cpu']`. Default: the
   * runtime's own. With `['webgpu']` alone K and V stay on the GPU.
   */
  readonly executionProviders?: readonly string[]
  /** Further options for the runtime, such as `{ intraOpNumThreads: 4 }`. */
  readonly sessionOptions?: Readonly<Record<string, unknown>>
  /** The files that hold the weights, under the names that the model gives them. */
  readonly externalData?: readonly { readonly path: string; readonly data: Uint8Array }[]
}

/** K and V of a sequence, by name of the model's input. */
export type OrtCache = ReadonlyMap<string, OrtTensor>

/** K and V of one layer, (kvHeads, tokens, headDim) each. */
export interface LayerKv {
  readonly k: Float32Array
  readonly v: Float32Array
}

/** A prompt, and its place in a row of a pass. */
export interface PackedPrompt {
  readonly ids: readonly number[]
  readonly row: number
  readonly offset: number
}

export interface ReadPrompt {
  /** Logits after the prompt, (vocab). */
  readonly logits: Float32Array
  readonly layers: readonly LayerKv[]
}

type FloatType = 'float32' | 'float16'

/**
 * Opens a model. Throws `bad_model` for a file that is not ONNX or lacks its weights; the message says
 * what to do.
 */
export async function openSession(
  name: string,
  model: Uint8Array,
  { ort, executionProviders, sessionOptions, externalData }: OrtOptions,
): Promise<OrtSession> {
  try {
    return await ort.InferenceSession.create(model, {
      ...(executionProviders && { executionProviders }),
      ...(onlyGpu(executionProviders) && { preferredOutputLocation: 'gpu-buffer' }),
      ...sessionOptions,
      ...(externalData && { externalData }),
    })
  } catch (cause) {
    throw notOpened(name, cause)
  }
}

/** Returns whether a model gives states or vectors of a text, and no scores of next tokens. */
export function isEncoder({ inputNames, outputNames }: OrtSession): boolean {
  const gives = (...names: readonly string[]) => names.some((name) => outputNames.includes(name))
  return (
    inputNames.includes('input_ids') &&
    !gives('logits') &&
    gives('last_hidden_state', 'token_embeddings', 'sentence_embedding')
  )
}

export class OrtModel {
  readonly layers: number
  readonly kvHeads: number
  readonly headDim: number
  readonly #ort: OrtModule
  readonly #session: OrtSession
  readonly #type: FloatType
  readonly #has: { readonly positions: boolean; readonly branch: boolean; readonly keep: boolean }
  /**
   * Element type of a mask of rows by columns, (batch, 1, n, past + n); undefined if the mask has
   * one value for each token.
   */
  readonly #maskType: string | undefined

  /** Throws `unsupported` for an export of another kind; the message says what to do. */
  constructor(name: string, ort: OrtModule, session: OrtSession) {
    const inputs = new Set(session.inputNames)
    const wrong = (why: string) => new ForetokenError('unsupported', `${name} ${why}`)
    if (!inputs.has('input_ids') || !session.outputNames.includes('logits'))
      throw wrong(
        `takes ${[...inputs].slice(0, 4).join(', ')} and gives ${session.outputNames.slice(0, 3).join(', ')}: it is not a causal language model; export one for text generation`,
      )
    const layers = session.inputNames.filter((one) => /^past_key_values\.\d+\.key$/.test(one)).length
    const present = session.outputNames.filter((one) => /^present\.\d+\.key$/.test(one)).length
    if (layers === 0 || present !== layers)
      throw wrong(
        'has no past K and V, so that each token would read everything again; export it with them (optimum: --task text-generation-with-past)',
      )
    const { shape, type } = session.inputMetadata?.find((one) => one.name === 'past_key_values.0.key') ?? {}
    if (type !== 'float32' && type !== 'float16')
      throw wrong(`keeps K and V in ${type ?? 'an unknown type'}; float32 and float16 are known`)
    if (shape?.length !== 4 || typeof shape[1] !== 'number' || typeof shape[3] !== 'number')
      throw wrong(
        `has past K of shape (${shape?.join(', ')}); (batch, heads, tokens, values) with its heads and values fixed is known`,
      )
    this.layers = layers
    this.kvHeads = shape[1]
    this.headDim = shape[3]
    this.#ort = ort
    this.#session = session
    this.#type = type
    const mask = session.inputMetadata?.find((one) => one.name === 'attention_mask')
    this.#maskType = mask?.shape?.length === 4 ? mask.type : undefined
    this.#has = {
      positions: inputs.has('position_ids'),
      branch: inputs.has('use_cache_branch'),
      keep: inputs.has('num_logits_to_keep'),
    }
  }

  /**
   * True if several prompts can share a row: the model takes a mask of rows by columns, and
   * positions.
   */
  get packs(): boolean {
    return this.#maskType !== undefined && this.#has.positions
  }

  /**
   * Runs `rows` rows of `columns` tokens each, without a past. Prompts lie end to end; each sees
   * only itself, and its positions begin at 0. Resolves with the logits and the K and V of each
   * prompt, in the order of `prompts`.
   */
  async runPacked(prompts: readonly PackedPrompt[], rows: number, columns: number): Promise<ReadPrompt[]> {
    const ids = new BigInt64Array(rows * columns)
    const positions = new BigInt64Array(rows * columns)
    const segments = new Int32Array(rows * columns).fill(-1)
    for (const [index, { ids: prompt, row, offset }] of prompts.entries())
      for (const [position, id] of prompt.entries()) {
        const cell = row * columns + offset + position
        ids[cell] = BigInt(id)
        positions[cell] = BigInt(position)
        segments[cell] = index
      }
    // Padding sees itself, since each row of a softmax needs a value.
    const sees = (row: number, query: number, key: number) => {
      const segment = segments[row * columns + query]
      return key === query || (key < query && segment !== -1 && segment === segments[row * columns + key])
    }
    const past: OrtCache = new Map(this.#emptyPast(rows))
    let outputs: Outputs
    try {
      outputs = await this.#session.run({
        input_ids: this.#tensor('int64', ids, [rows, columns]),
        position_ids: this.#tensor('int64', positions, [rows, columns]),
        attention_mask: this.#mask(rows, columns, columns, sees),
        ...(this.#has.branch && { use_cache_branch: this.#tensor('bool', Uint8Array.of(0), [1]) }),
        ...(this.#has.keep && { num_logits_to_keep: this.#tensor('int64', BigInt64Array.of(0n), []) }),
        ...Object.fromEntries(past),
      })
    } finally {
      this.drop(past)
    }
    try {
      return await this.#promptsOf(outputs, prompts, columns)
    } finally {
      disposeAll(Object.values(outputs))
    }
  }

  async #promptsOf(outputs: Outputs, prompts: readonly PackedPrompt[], columns: number): Promise<ReadPrompt[]> {
    const { logits, vocab } = await logitsOf(outputs)
    const parts: LayerKv[] = []
    for (let layer = 0; layer < this.layers; layer++)
      parts.push({
        k: await floatsOf(outputOf(outputs, `present.${layer}.key`)),
        v: await floatsOf(outputOf(outputs, `present.${layer}.value`)),
      })
    return prompts.map(({ ids: { length }, row, offset }) => {
      const last = (row * columns + offset + length - 1) * vocab
      const layers = parts.map(({ k, v }) => ({
        k: this.#cut(k, row, offset, length, columns),
        v: this.#cut(v, row, offset, length, columns),
      }))
      return { logits: logits.slice(last, last + vocab), layers }
    })
  }

  /** Copies one prompt's (kvHeads, tokens, headDim) out of (rows, kvHeads, columns, headDim). */
  #cut(values: Float32Array, row: number, offset: number, tokens: number, columns: number): Float32Array {
    const { kvHeads, headDim } = this
    const out = new Float32Array(kvHeads * tokens * headDim)
    for (let head = 0; head < kvHeads; head++) {
      const from = ((row * kvHeads + head) * columns + offset) * headDim
      out.set(values.subarray(from, from + tokens * headDim), head * tokens * headDim)
    }
    return out
  }

  #emptyPast(rows: number): [string, OrtTensor][] {
    const dims = [rows, this.kvHeads, 0, this.headDim]
    return Array.from({ length: this.layers }, (_, layer) => layer).flatMap((layer) =>
      ['key', 'value'].map((part): [string, OrtTensor] => [
        `past_key_values.${layer}.${part}`,
        this.#floats(new Float32Array(0), dims),
      ]),
    )
  }

  /**
   * Returns a mask, (rows, 1, queries, keys), with 1 or true for each visible key. A mask of floats
   * is added to scores: it has 0 for a visible key, and nearly minus infinity otherwise.
   */
  #mask(
    rows: number,
    queries: number,
    keys: number,
    sees: (row: number, query: number, key: number) => boolean,
  ): OrtTensor {
    const size = rows * queries * keys
    const each = (put: (at: number, seen: boolean) => void) => {
      for (let at = 0; at < size; at++)
        put(at, sees(Math.floor(at / (queries * keys)), Math.floor(at / keys) % queries, at % keys))
    }
    const dims = [rows, 1, queries, keys]
    if (this.#maskType === 'bool') {
      const values = new Uint8Array(size)
      each((at, seen) => {
        values[at] = seen ? 1 : 0
      })
      return this.#tensor('bool', values, dims)
    }
    if (this.#maskType === 'int64') {
      const values = new BigInt64Array(size)
      each((at, seen) => {
        values[at] = seen ? 1n : 0n
      })
      return this.#tensor('int64', values, dims)
    }
    const values = new Float32Array(size)
    each((at, seen) => {
      values[at] = seen ? 0 : -65_504
    })
    return this.#maskType === 'float16'
      ? this.#tensor('float16', halves(values), dims)
      : this.#tensor('float32', values, dims)
  }

  /**
   * Returns a cache of K and V that were computed elsewhere; without layers it is empty. Throws
   * `bad_argument` for other shapes.
   */
  cacheOf(layers: readonly LayerKv[], tokens: number): OrtCache {
    const values = this.kvHeads * tokens * this.headDim
    const dims = [1, this.kvHeads, tokens, this.headDim]
    const cache = new Map<string, OrtTensor>()
    for (let layer = 0; layer < this.layers; layer++) {
      const { k, v } = layers[layer] ?? { k: new Float32Array(0), v: new Float32Array(0) }
      if (k.length !== values || v.length !== values)
        throw new ForetokenError(
          'bad_argument',
          `K and V of layer ${layer} have ${k.length} values, and the model takes ${values}: is it the same model?`,
        )
      cache.set(`past_key_values.${layer}.key`, this.#floats(k, dims))
      cache.set(`past_key_values.${layer}.value`, this.#floats(v, dims))
    }
    return cache
  }

  /**
   * Runs tokens after a cache, which cannot be used again, even after a failure. Resolves with the
   * last token's logits, and the longer cache.
   */
  async run(
    ids: readonly number[],
    past: OrtCache,
    pastTokens: number,
  ): Promise<{ readonly logits: Float32Array; readonly cache: OrtCache }> {
    let outputs: Outputs
    try {
      outputs = await this.#session.run(this.#feeds(ids, past, pastTokens))
    } finally {
      this.drop(past)
    }
    const cache = new Map<string, OrtTensor>()
    try {
      for (let layer = 0; layer < this.layers; layer++)
        for (const part of ['key', 'value'])
          cache.set(`past_key_values.${layer}.${part}`, outputOf(outputs, `present.${layer}.${part}`))
      const { logits, vocab } = await logitsOf(outputs)
      return { logits: logits.slice(logits.length - vocab), cache }
    } catch (error) {
      this.drop(cache)
      throw error
    } finally {
      const kept = new Set(cache.values())
      disposeAll(Object.values(outputs).filter((tensor) => !kept.has(tensor)))
    }
  }

  #feeds(ids: readonly number[], past: OrtCache, pastTokens: number): Record<string, OrtTensor> {
    const n = ids.length
    return {
      input_ids: this.#whole(ids),
      attention_mask:
        this.#maskType === undefined
          ? this.#whole(Array<number>(pastTokens + n).fill(1))
          : this.#mask(1, n, pastTokens + n, (_, query, key) => key <= pastTokens + query),
      ...(this.#has.positions && { position_ids: this.#whole(ids.map((_, at) => pastTokens + at)) }),
      ...(this.#has.branch && { use_cache_branch: this.#tensor('bool', Uint8Array.of(pastTokens > 0 ? 1 : 0), [1]) }),
      ...(this.#has.keep && { num_logits_to_keep: this.#tensor('int64', BigInt64Array.of(1n), []) }),
      ...Object.fromEntries(past),
    }
  }

  /** Frees a cache. Its tensors may lie on a GPU. */
  drop(cache: OrtCache): void {
    disposeAll(cache.values())
  }

  async close(): Promise<void> {
    await this.#session.release?.()
  }

  #whole(values: readonly number[]): OrtTensor {
    return this.#tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length])
  }

  #floats(values: Float32Array, dims: readonly number[]): OrtTensor {
    return this.#tensor(this.#type, this.#type === 'float16' ? halves(values) : values, dims)
  }

  #tensor(type: string, data: unknown, dims: readonly number[]): OrtTensor {
    // The runtime's types tie each element type to its kind of array.
    return new this.#ort.Tensor(type as never, data as never, dims)
  }
}

function onlyGpu(providers: readonly string[] = []): boolean {
  return providers.length > 0 && providers.every((one) => one === 'webgpu')
}

function notOpened(name: string, cause: unknown): ForetokenError {
  const message = cause instanceof Error ? cause.message : String(cause)
  // ONNX Runtime reports this only in the message text.
  const external = /external|\.onnx_data|\.data\b|file.*not.*found/i.test(message)
  const why = external
    ? `${name} keeps its weights in a file of its own, which is missing: put it beside the model under the name that the model gives (${message})`
    : `${name} can't be opened by ONNX Runtime: ${message}`
  return new ForetokenError('bad_model', why, { cause })
}

/** A prompt that was read into a cache. */
export interface CachedPrompt {
  /** Logits after the prompt, (vocab). */
  readonly logits: Float32Array
  readonly cache: OrtCache
  /** Number of tokens in the cache. */
  readonly tokens: number
}
