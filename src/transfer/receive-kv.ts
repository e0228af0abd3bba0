/** Writes another engine's K and V from the wire into the pages of a sequence. */
import { at, defined } from '../base/at.ts'
import { Callback } from '../base/callback.ts'
import { bytesOf, functionOf, signalOf, textOf, withArguments } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import {
  anyObject,
  type Checks,
  callable,
  checkedFields,
  listWith,
  nameOf,
  needed,
  wholeFrom,
  withMethods,
} from '../base/fields.ts'
import type { KvPool } from '../base/kv.ts'
import { type KvCodec, type WireCodec, wireCodecs } from '../base/kv-codec.ts'
import type { PagedCache } from '../kv/paged.ts'
import type { Sequence } from '../kv/sequence.ts'
import type { KvIdentity, KvRange } from './format.ts'
import { decodeSteps, stepsOf } from './residual.ts'
import type { TileBytes } from './tiles.ts'
import { readWire } from './wire.ts'

/** The prediction that a `residual` stream corrects: the receiver's own, of the whole prompt. */
export interface PredictedKv {
  readonly sequence: Sequence
  /**
   * Resolves when the sequence holds the tokens before position `to`, or rejects. Its pages are
   * read then.
   */
  ready(to: number): Promise<void>
}

export interface ReceiveOptions {
  /** The codec of the backend that has the pool. */
  readonly codec: KvCodec
  readonly cache: Pick<PagedCache, 'pool'>
  /**
   * Holds whole pages: exactly the tokens that the sender was told to leave out. The new tokens go
   * after them. Afterwards it holds all tokens before `to`, all exact; on failure it is unchanged.
   * Nobody may read it meanwhile.
   */
  readonly sequence: Sequence
  /** The identity that the stream must have: `Engine.kvIdentity()` of this engine. */
  readonly identity: KvIdentity
  /** The token ids of the prompt. */
  readonly ids: readonly number[]
  /** The position after the last token that was requested. */
  readonly to: number
  /** The key that the sender signs with, and the context that both ends know of the request. */
  readonly key: Uint8Array
  readonly context?: string
  /** The codecs that are accepted. Default: all, `residual` only with a prediction. */
  readonly codecs?: readonly WireCodec[]
  /**
   * The prediction that a `residual` stream is added to. Its pages are copied and do not change.
   */
  readonly predicted?: PredictedKv | undefined
  /**
   * Called for each block, when the tokens before `to` have arrived for all layers below `layer`.
   * `bytes` counts payload bytes so far.
   */
  readonly onBlock?: (progress: { readonly to: number; readonly layer: number; readonly bytes: number }) => void
  readonly signal?: AbortSignal | undefined
}

export interface Received {
  readonly codec: WireCodec
  readonly tokens: number
  readonly bytes: number
}

/** The checks of `ReceiveOptions`. */
export const receiveChecks: Checks<ReceiveOptions> = {
  codec: needed(withMethods<KvCodec>('kvBytes', 'decodeKv')),
  cache: needed((name, value) => {
    const cache = anyObject<Pick<PagedCache, 'pool'>>()(name, value)
    withMethods<KvPool>('readPage', 'writePage')(`${name}.pool`, cache.pool)
    return cache
  }),
  sequence: needed(withMethods<Sequence>('extend', 'truncate')),
  identity: needed(anyObject()),
  ids: needed(listWith(wholeFrom(0))),
  to: needed(wholeFrom(0)),
  key: needed(bytesOf),
  context: textOf,
  codecs: listWith(nameOf(wireCodecs)),
  predicted: withMethods<PredictedKv>('ready'),
  onBlock: callable(),
  signal: (name, value) => signalOf(name, value) as AbortSignal,
}

/**
 * Reads a stream that `Engine.kvOf` made, block by block into pages. Only when it resolves is every
 * byte known to come from the sender; the sequence must not be used before. Throws `bad_kv`,
 * `bad_mac`, `checksum`, `wrong_model`, `out_of_pages`, `aborted`, and what the stream throws.
 */
export async function receiveKv(body: AsyncIterable<Uint8Array>, wanted: ReceiveOptions): Promise<Received> {
  const options = withArguments('receiveKv', () => {
    functionOf('body[Symbol.asyncIterator]', Object(body)[Symbol.asyncIterator])
    return checkedFields('the options', wanted, receiveChecks)
  })
  const { codec, cache, sequence, identity, ids, to, key, context, predicted, signal } = options
  const { pool } = cache
  const onBlock = new Callback('onBlock', options.onBlock)
  const from = sequence.length
  try {
    sequence.extend(to - from, 0)
  } catch (error) {
    close(body)
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
          await copyPages(pool, defined(predicted), sequence, copied, tile.to)
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

/** Closes a stream unread. Does not wait for it, because it may hang. */
function close(body: AsyncIterable<Uint8Array>): void {
  Promise.resolve(body[Symbol.asyncIterator]().return?.()).catch(() => {})
}

/**
 * Returns the payload sizes of a range. Throws `bad_kv` for a codec that was not requested or
 * cannot be used.
 */
function acceptable(range: KvRange, { codec, cache, codecs, predicted, ids }: ReceiveOptions): TileBytes {
  const name = range.codec
  if (codecs && !codecs.includes(name))
    throw new ForetokenError('bad_kv', `the stream is in ${name}, and ${codecs.join(', ')} was requested`)
  if (name !== 'residual') return ({ layers, from, to }) => codec.kvBytes(cache.pool, layers, to - from, name)
  if (!predicted)
    throw new ForetokenError(
      'bad_kv',
      'the stream corrects a prediction, and there is none here; ask for another codec',
    )
  if (range.promptTokens !== ids.length)
    throw new ForetokenError(
      'bad_kv',
      `the stream corrects a prediction of ${range.promptTokens} tokens, and the one here has ${ids.length}`,
    )
  return () => undefined
}

/** Copies the predicted tokens `from`..`to` - 1, in whole pages. */
async function copyPages(
  pool: KvPool,
  predicted: PredictedKv,
  into: Sequence,
  from: number,
  to: number,
): Promise<void> {
  await predicted.ready(to)
  for (let page = from >> 4; page < Math.ceil(to / 16); page++)
    pool.writePage(at(into.pages, page), await pool.readPage(at(predicted.sequence.pages, page)))
}
