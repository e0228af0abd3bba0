/**
 * Makes embeddings with an encoder in ONNX, such as an export of a BERT by optimum or
 * sentence-transformers. Loaded with the first such model.
 *
 *     in    input_ids (1, n), attention_mask (1, n) and token_type_ids (1, n) if the model has them
 *     out   last_hidden_state or token_embeddings (1, n, hidden), which are pooled as the folder says,
 *           or sentence_embedding (1, width), which the graph has pooled
 *
 * Texts run one by one. A batch would need padded rows, and in an export with dynamic 8-bit
 * quantisation the scales, and so a text's vector, would depend on the other texts.
 */
import type { ModelFiles } from '../base/bytes.ts'
import { Callback } from '../base/callback.ts'
import { throwIfAborted } from '../base/cancelled.ts'
import { withArguments } from '../base/checks.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import type { EmbeddingSpec } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import {
  checkedEmbed,
  type Embeddings,
  type EmbedInput,
  type EmbedOptions,
  idsOfText,
  nameOfText,
  type TextFrame,
  wayOf,
} from '../engine/embed.ts'
import { Pool, vectorOf } from '../engine/pooling.ts'
import { modulesOfFolder } from '../model/embedding-modules.ts'
import { embeddingOfFolder, framesOf, plainEmbedding } from '../model/embedding-spec.ts'
import { type Json, readJson, show } from '../model/json.ts'
import { jsonBounds } from '../model/limits.ts'
import { encoderTokenizers } from '../tokens/encoder-tokenizers.ts'
import type { Tokenizer } from '../tokens/tokenizer.ts'
import type { OnnxFolder } from './folder.ts'
import type { OrtModule, OrtSession, OrtTensor } from './runtime.ts'
import { disposeAll, floatsOf, type Outputs } from './tensors.ts'

const statesNames = ['last_hidden_state', 'token_embeddings'] as const
const pooledName = 'sentence_embedding'
const inputs = ['input_ids', 'attention_mask', 'token_type_ids']

/** Runs a step when no other step of the engine runs. */
export type Step = <T>(run: () => Promise<T>, signal: AbortSignal | undefined) => Promise<T>

/** Names of the files beside the model that say how long a text may be, with their keys. */
const lengths = [
  ['sentence_bert_config.json', 'max_seq_length'],
  ['tokenizer_config.json', 'model_max_length'],
] as const

const paddedFamilies = ['roberta', 'xlm-roberta', 'xlm-roberta-xl', 'camembert', 'mpnet']

export class OrtEncoder {
  /** The kinds of tokenizers that encoders have. */
  readonly tokenizers = encoderTokenizers
  /** The folder's description, with how it makes embeddings. */
  readonly description: OnnxFolder
  readonly #name: string
  readonly #ort: OrtModule
  readonly #session: OrtSession
  readonly #states: string | undefined
  readonly #pools: boolean
  readonly #frame: Omit<TextFrame, 'most' | 'advice'>
  /** Whether the folder lowers the case of texts before its tokenizer does anything. */
  readonly #lowers: boolean

  /** Reads the rest of the folder. Throws `unsupported` for an export of another kind, and `bad_model`. */
  static async of(
    files: ModelFiles,
    folder: OnnxFolder,
    name: string,
    { ort, session }: { readonly ort: OrtModule; readonly session: OrtSession },
  ): Promise<OrtEncoder> {
    const unknown = session.inputNames.filter((input) => !inputs.includes(input))
    if (unknown.length > 0)
      throw new ForetokenError(
        'unsupported',
        `${name} takes ${unknown.slice(0, 3).join(', ')}, and encoders take ${inputs.join(', ')}; export it for feature extraction, without a past`,
      )
    const { vocab } = folder.config
    const optional = async (file: string): Promise<Json> =>
      files.files.includes(file) ? readJson(await files.open(file), jsonBounds.tokenizerConfig) : {}
    const bad = (file: string, key: string, value: unknown, expected: string) =>
      new ForetokenError(
        'bad_model',
        `${files.name}/${file}: ${key} is ${show(value)}; expected ${expected}: correct it, or take the export's own file`,
      )
    const { hidden } = folder.config as Partial<OnnxFolder['config']>
    if (hidden === undefined) throw bad('config.json', 'hidden_size', hidden, 'the width of its states')
    const { before, after } = framesOf(folder.tokenizer.json.post_processor, files.name, vocab)
    const { model_type: family, pad_token_id: pad = 1 } = await optional('config.json')
    let { maxContext } = folder.config
    // These count positions from the one behind the padding's.
    if (paddedFamilies.includes(String(family)) && isWhole(pad, 0, maxContext - 2)) maxContext -= (pad as number) + 1
    const least = Math.max(2, before.length + after.length + 1)
    for (const [file, key] of lengths) {
      const { [key]: most } = await optional(file)
      if (most === undefined || most === null) continue
      // Some files write 1e30 for no limit, which is not a safe integer.
      if (!(typeof most === 'number' && Number.isInteger(most) && most >= least))
        throw bad(file, key, most, `a whole number of at least ${least} tokens, with those around a text`)
      maxContext = Math.min(maxContext, most)
    }
    const { do_lower_case: lowers } = await optional(lengths[0][0])
    if (typeof (lowers ?? false) !== 'boolean') throw bad(lengths[0][0], 'do_lower_case', lowers, 'true or false')
    const { pooling, dense } = await modulesOfFolder(files)
    const pooled = session.outputNames.includes(pooledName)
    const spec = await embeddingOfFolder(files, folder.tokenizer, vocab, pooling)
    const embedding: EmbeddingSpec =
      dense.length > 0 && !pooled
        ? { ...spec, refused: `its dense layers are not in the graph; export it with the output ${pooledName}` }
        : spec
    // A tokenizer without a template of its own may still begin with BOS.
    const frame = { before, after, bos: before.length === 0 }
    const config = { ...folder.config, maxContext }
    // Warnings of a folder are about the ends of answers.
    return new OrtEncoder({ ...folder, config, embedding, warnings: [] }, name, ort, session, frame, lowers === true)
  }

  private constructor(
    description: OnnxFolder,
    name: string,
    ort: OrtModule,
    session: OrtSession,
    frame: Omit<TextFrame, 'most' | 'advice'>,
    lowers: boolean,
  ) {
    this.description = description
    this.#name = name
    this.#ort = ort
    this.#session = session
    this.#states = statesNames.find((output) => session.outputNames.includes(output))
    this.#pools = session.outputNames.includes(pooledName)
    this.#frame = frame
    this.#lowers = lowers
  }

  /** Makes an embedding of each text, one by one. Rejects as `Engine.embed`. */
  async embed(
    { tokenizer, context }: { readonly tokenizer: Tokenizer; readonly context: number },
    input: EmbedInput,
    unchecked: EmbedOptions,
    step: Step,
  ): Promise<Embeddings> {
    const { inputs, options, way } = withArguments('embed', () => {
      const { inputs, options } = checkedEmbed(this.description, input, unchecked)
      return { inputs, options, way: this.#wayOf(options) }
    })
    const { signal } = options
    const progress = new Callback('onProgress', options.onProgress)
    const frame = { ...this.#frame, most: context, advice: 'shorten it' }
    const texts: (readonly number[])[] = []
    for (const [index, one] of inputs.entries()) {
      const lowered = typeof one === 'string' && this.#lowers ? one.toLowerCase() : one
      const called = nameOfText(input, index)
      const ids =
        typeof lowered === 'string' ? await idsOfText(tokenizer, frame, way.prefix, lowered, called, signal) : lowered
      if (ids.length > context)
        throw new ForetokenError(
          'context_exceeded',
          `${called} has ${ids.length} tokens, and ${this.#name} reads at most ${context}; shorten it`,
        )
      texts.push(ids)
    }
    const vectors: Float32Array<ArrayBuffer>[] = []
    for (const ids of texts) {
      throwIfAborted(signal)
      vectors.push(vectorOf(await step(() => this.#pooled(ids, way.pooling), signal), way))
      progress.call(vectors.length, texts.length)
    }
    await progress.settle()
    return { vectors, tokens: texts.map(({ length }) => length) }
  }

  /** Returns how a call makes vectors; `pooling` is undefined if the graph pools. */
  #wayOf(options: EmbedOptions) {
    const { description } = this
    const { embedding = plainEmbedding } = description
    if (!this.#pools || options.pooling !== undefined) {
      if (!this.#states)
        throw new ForetokenError(
          'unsupported',
          `${this.#name} gives ${pooledName} alone, which it has pooled itself; leave pooling out`,
        )
      return wayOf(description, options)
    }
    // What the modules say is in the graph.
    const { refused: _, ...known } = embedding
    const way = wayOf({ ...description, embedding: { ...known, pooling: 'mean' } }, options)
    return { ...way, pooling: undefined }
  }

  /** Runs one text. Resolves with its vector, (width). */
  async #pooled(ids: readonly number[], pooling: EmbeddingSpec['pooling']): Promise<Float32Array | Float64Array> {
    const { hidden } = this.description.config
    const name = pooling === undefined ? pooledName : (this.#states ?? '')
    let outputs: Outputs
    try {
      outputs = await this.#session.run(this.#feeds(ids))
    } catch (cause) {
      const { message } = asForetokenError(cause)
      throw new ForetokenError('bad_model', `${this.#name} failed in ONNX Runtime: ${message}`, { cause })
    }
    try {
      const output = outputs[name]
      const values = output ? await floatsOf(output) : new Float32Array(0)
      const width = pooling === undefined ? hidden : ids.length * hidden
      if (values.length !== width)
        throw new ForetokenError(
          'bad_model',
          `${this.#name} gave ${name} of (${output?.dims.join(', ')}) for ${ids.length} tokens, not ${width} numbers; export it again`,
        )
      if (pooling === undefined) return values.slice()
      const pool = new Pool(pooling, hidden)
      const rows = { all: [0, width], first: [0, hidden], last: [width - hidden, width] }[pool.rows]
      pool.read(values.subarray(...rows))
      return pool.mean()
    } finally {
      disposeAll(Object.values(outputs))
    }
  }

  #feeds(ids: readonly number[]): Record<string, OrtTensor> {
    const values = {
      input_ids: ids,
      attention_mask: ids.map(() => 1),
      token_type_ids: ids.map(() => 0),
    }
    const taken = Object.entries(values).filter(([name]) => this.#session.inputNames.includes(name))
    return Object.fromEntries(taken.map(([name, list]) => [name, this.#tensor(name, list)]))
  }

  #tensor(name: string, values: readonly number[]): OrtTensor {
    const narrow = this.#session.inputMetadata?.find((one) => one.name === name)?.type === 'int32'
    const data = narrow ? Int32Array.from(values) : BigInt64Array.from(values, BigInt)
    return new this.#ort.Tensor((narrow ? 'int32' : 'int64') as never, data as never, [1, values.length])
  }

  async close(): Promise<void> {
    await this.#session.release?.()
  }
}
