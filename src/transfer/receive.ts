/** Another engine's K and V, from the wire into the pages of a sequence. */
import { Callback } from '../base/callback.ts'
import { ForetokenError } from '../base/errors.ts'
import type { KvCodec, KvPool, WireCodec } from '../base/kv.ts'
import type { PagedCache, Sequence } from '../kv/paged.ts'
import type { KvIdentity, KvRange, TileBytes } from './format.ts'
import { decodeSteps, stepsOf } from './residual.ts'
import { readWire } from './wire.ts'

/** A prediction that a `residual` stream corrects: the receiver's own, of the whole prompt. */
export interface PredictedKv {
  readonly sequence: Sequence
  /** Resolves when the sequence holds the tokens before position `to`, or rejects. Its pages are read then. */
  ready(to: number): Promise<void>
}

export interface ReceiveOptions {
  /** The codec of the backend that has the pool. */
  readonly codec: KvCodec
  readonly cache: Pick<PagedCache, 'pool'>
  /**
   * Holds the tokens that were said to be held, whole pages, and is written behind them. Afterwards it holds those before `to`, all
   * exact; on failure it is as it was. Nobody may read it meanwhile.
   */
  readonly sequence: Sequence
  /** What the stream must be of: `Engine.kvIdentity()` of this engine. */
  readonly identity: KvIdentity
  /** The prompt. */
  readonly ids: readonly number[]
  /** Position behind the last token that was asked for. */
  readonly to: number
  /** What the sender signs with, and what both know of the request. */
  readonly key: Uint8Array
  readonly context?: string
  /** What may come. Default: all, `residual` if there is a prediction. */
  readonly codecs?: readonly WireCodec[]
  /** What a `residual` stream is added to. Its pages are copied, and stay as they are. */
  readonly predicted?: PredictedKv | undefined
  /** Called for each block: tokens before `to` have arrived of all layers below `layer`; bytes of the stream so far. */
  readonly onBlock?: (progress: { readonly to: number; readonly layer: number; readonly bytes: number }) => void
  readonly signal?: AbortSignal | undefined
}

export interface Received {
  readonly codec: WireCodec
  readonly tokens: number
  readonly bytes: number
}

/**
 * Reads a stream that `Engine.kvOf` made, block by block into pages. Only when it resolves is every byte known to be the sender's: the
 * sequence must not be used before. Throws `bad_kv`, `bad_mac`, `checksum`, `wrong_model`, `out_of_pages`, `aborted`, and what the
 * stream throws.
 */
export async function receiveKv(body: AsyncIterable<Uint8Array>, options: ReceiveOptions): Promise<Received> {
  const { codec, cache, sequence, identity, ids, to, key, context, predicted, signal } = options
  const { pool } = cache
  const onBlock = new Callback('onBlock', options.onBlock)
  const from = sequence.length
  try {
    sequence.extend(to - from, 0)
  } catch (error) {
    letGo(body)
    throw error
  }
  let arrived = 0
  let copied = from
  let steps: Float32Array | undefined
  try {
    const shape = { layers: pool.layers, kvHeads: pool.kvHeads, headDim: pool.headDim }
    const binding = { identity, shape, ids, key, ...(context !== undefined && { context }) }
    const { range, bytes } = await readWire(body, binding, {
      from,
      to,
      signal,
      accept: (range) => {
        const bytes = acceptable(range, options)
        const layers = pool.layers - range.firstLayer
        if (range.codec === 'residual') steps = decodeSteps(range.table, { ...shape, layers })
        return bytes
      },
      tile: async (tile, payload, range) => {
        const name = range.codec
        if (name === 'residual' && tile.to > copied) {
          await copyPages(pool, predicted!, sequence, copied, tile.to)
          copied = tile.to
        }
        const coding = { codec: name, ...(steps && { steps: stepsOf(steps, tile.layers, range.firstLayer, pool) }) }
        await codec.decodeKv(pool, { ...tile, pages: sequence.pages }, coding, payload)
        arrived += payload.length
        onBlock.call({ to: tile.to, layer: tile.layers.to, bytes: arrived })
      },
    })
    await onBlock.settle()
    return { codec: range.codec, tokens: to - from, bytes }
  } catch (error) {
    sequence.truncate(from)
    throw error
  }
}

/** Lets a stream go of which nothing is read. Does not wait for it: it may hang. */
function letGo(body: AsyncIterable<Uint8Array>): void {
  Promise.resolve(body[Symbol.asyncIterator]().return?.()).catch(() => {})
}

/** Throws `bad_kv` for a codec that was not asked for or can't be used. */
function acceptable(range: KvRange, { codec, cache, codecs, predicted, ids }: ReceiveOptions): TileBytes {
  const name = range.codec
  if (codecs && !codecs.includes(name))
    throw new ForetokenError('bad_kv', `the stream is in ${name}, and ${codecs.join(', ')} was asked for`)
  if (name !== 'residual') return ({ layers, from, to }) => codec.kvBytes(cache.pool, layers, to - from, name)
  if (!predicted)
    throw new ForetokenError(
      'bad_kv',
      'the stream corrects a prediction, and there is none here; ask for another codec',
    )
  if (range.promptTokens !== ids.length)
    throw new ForetokenError(
      'bad_kv',
      `the stream corrects a prediction of ${range.promptTokens} tokens, and the one here is of ${ids.length}`,
    )
  return () => undefined
}

/** Tokens `from`..`to` - 1 as they were predicted, in whole pages. */
async function copyPages(
  pool: KvPool,
  predicted: PredictedKv,
  into: Sequence,
  from: number,
  to: number,
): Promise<void> {
  await predicted.ready(to)
  for (let page = from >> 4; page < Math.ceil(to / 16); page++)
    pool.writePage(into.pages[page]!, await pool.readPage(predicted.sequence.pages[page]!))
}
