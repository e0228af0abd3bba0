/** A prompt's exact K and V, computed among all other requests and streamed to another engine as they are made. */

import { Callback } from '../base/callback.ts'
import { ForetokenError } from '../base/errors.ts'
import { type KvCodec, type KvCoding, pageTokens, type WireCodec, wireCodecs } from '../base/kv.ts'
import { Lifetime } from '../base/lifetime.ts'
import { isWhole } from '../base/numbers.ts'
import { throwIfAborted } from '../base/turn.ts'
import type { Scheduler } from '../decode/scheduler.ts'
import type { Job } from '../decode/task.ts'
import type { PagedCache, Sequence } from '../kv/paged.ts'
import type { PrefixIndex } from '../kv/prefix.ts'
import { type Ahead, PredictedPrompt } from '../prefill/ahead.ts'
import { type KvIdentity, type KvRange, type KvShape, mostTileBytes, type WireTile } from './format.ts'
import { decodeSteps, encodeSteps, type ResidualSteps, stepsOf } from './residual.ts'
import { writeWire } from './wire.ts'

export interface KvOptions {
  /** `residual` becomes `int8` for a prompt that is too short to be predicted. Throws `unsupported` for it without a predictor. */
  readonly codec: WireCodec
  /** Of `residual`: how coarse it is, times the steps that suit the model. Default 1: a KL of about .02 from exact. */
  readonly coarseness?: number
  /** Seals the stream; who reads it must have it. At least 16 bytes. */
  readonly key: Uint8Array
  /** Binds the stream to a request: a nonce, say. Whoever reads it must know it. Default ''. */
  readonly context?: string
  /** Tokens that the receiver holds: whole pages, a multiple of 16. Default 0. */
  readonly from?: number
  /** Position behind the last token to send. Default: all but the last token, whose logits the receiver has to compute. */
  readonly to?: number
  /** Whose cached prefixes it may use. Default ''. */
  readonly tenant?: string
  readonly signal?: AbortSignal | undefined
  /** Called once, before the stream ends. */
  readonly onTimings?: ((timings: KvTimings) => void) | undefined
}

/** Milliseconds from the call, but for `encode_ms`. */
export interface KvTimings {
  /** Until it was let in. */
  readonly queue_ms: number
  /** Until all was computed. */
  readonly prefill_ms: number
  /** Until all was sent. */
  readonly total_ms: number
  /** Encoding alone. */
  readonly encode_ms: number
  readonly tokens: number
  /** Of the prompt's tokens, those that the prefix cache had. */
  readonly cached_tokens: number
  readonly bytes: number
}

/** Tokens and payload bytes of a tile, about: small enough that the first leaves early. */
const tileTokens = 64
const tileBytes = 1 << 18
/** Values of a residual tile: the most bytes that they could take tell little. */
const residualValues = 1 << 17

/** What `residual` takes: the predictor, and the quantiser's steps for it. */
export interface Residuals extends Ahead {
  readonly steps: ResidualSteps
  readonly firstLayer: number
}

export class KvSender {
  readonly #scheduler: Scheduler
  readonly #cache: PagedCache
  readonly #prefixes: PrefixIndex
  readonly #codec: KvCodec
  readonly #residuals: Residuals | undefined
  readonly #shape: KvShape

  constructor(
    scheduler: Scheduler,
    cache: PagedCache,
    prefixes: PrefixIndex,
    codec: KvCodec,
    residuals: Residuals | undefined,
  ) {
    const { layers, kvHeads, headDim } = cache.pool
    this.#scheduler = scheduler
    this.#cache = cache
    this.#prefixes = prefixes
    this.#codec = codec
    this.#residuals = residuals
    this.#shape = { layers, kvHeads, headDim }
  }

  /**
   * Throws `bad_argument`, and what a request throws. Nothing is held before the first piece is asked for; from then on an abort of the signal frees all
   * pages, whether or not anybody reads on.
   */
  async *send(
    ids: readonly number[],
    identity: KvIdentity,
    { key, context, signal, tenant = '', onTimings, ...options }: KvOptions,
  ): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const told = new Callback('onTimings', onTimings)
    const range = this.#rangeOf(ids, options)
    const residual = range.codec === 'residual'
    const life = new Lifetime()
    const reading = new Reading(ids.slice(0, range.to), residual ? 0 : range.from, tenant, life.signal, this.#cache)
    let predicted: PredictedPrompt | undefined
    let working: Promise<unknown> | undefined
    let encoding = 0
    let bytes = 0
    const encoded = async (tile: WireTile) => {
      throwIfAborted(signal)
      if (residual) {
        predicted ??= this.#predict(ids, reading.pages.slice(0, range.from / pageTokens))
        await predicted.ready(tile.to)
        throwIfAborted(signal)
      }
      const begun = performance.now()
      const coding = this.#codingOf(range, tile, predicted)
      const made = await this.#codec.encodeKv(this.#cache.pool, { ...tile, pages: reading.pages }, coding)
      encoding += performance.now() - begun
      return made
    }
    const payload = async (tile: WireTile) => {
      await this.#scheduler.drive(() => reading.ended || reading.done >= tile.to)
      throwIfAborted(signal)
      if (reading.error) throw reading.error
      const work = encoded(tile)
      working = work
      const made = await work
      working = undefined
      throwIfAborted(signal)
      if (tile.layers.to === this.#shape.layers) reading.drop(tile.to)
      return made
    }
    life.hold(() => reading.close())
    life.hold(() => predicted?.release())
    // Pages that are being read or written must not be anybody else's yet.
    life.hold(() => working?.then(undefined, () => {}))
    life.follow(signal)
    try {
      this.#scheduler.add(reading)
      const binding = { identity, shape: this.#shape, ids, key, ...(context !== undefined && { context }) }
      for await (const piece of writeWire(binding, range, payload)) {
        throwIfAborted(signal)
        bytes += piece.length
        yield piece
      }
      told.call({ ...reading.timings, encode_ms: encoding, tokens: range.to - range.from, bytes })
      await told.settle()
    } finally {
      await life.end()
    }
  }

  /** The prompt as the receiver predicts it, which holds what `held` holds. */
  #predict(ids: readonly number[], held: readonly number[]): PredictedPrompt {
    this.#prefixes.evict(Math.ceil(ids.length / pageTokens) - held.length - this.#cache.pagesFree)
    return new PredictedPrompt(this.#residuals!, ids, held)
  }

  #codingOf({ codec, firstLayer, table }: KvRange, { layers }: WireTile, predicted?: PredictedPrompt): KvCoding {
    if (!predicted) return { codec }
    const shape = { ...this.#shape, layers: this.#shape.layers - firstLayer }
    return {
      codec,
      base: predicted.sequence.pages,
      steps: stepsOf(decodeSteps(table, shape), layers, firstLayer, shape),
    }
  }

  #rangeOf(
    ids: readonly number[],
    { codec: wanted, coarseness = 1, from = 0, to = ids.length - 1 }: RangeOptions,
  ): KvRange {
    if (!wireCodecs.includes(wanted))
      throw new ForetokenError('bad_argument', `codec is ${wanted}; it may be ${wireCodecs.join(', ')}`)
    if (!isWhole(to, 1, ids.length))
      throw new ForetokenError('bad_argument', `to is ${to} of ${ids.length} tokens; it must be from 1 to that`)
    if (!isWhole(from, 0, to - 1) || from % pageTokens !== 0)
      throw new ForetokenError('bad_argument', `from is ${from}; it must be a multiple of ${pageTokens} below ${to}`)
    if (!(coarseness > 0 && coarseness < 1e6))
      throw new ForetokenError('bad_argument', `coarseness is ${coarseness}; it must be a positive number`)
    const codec = wanted === 'residual' ? this.#residualOr('int8', from, ids.length) : wanted
    const layer = this.#layerBytes(codec)
    const { layers, kvHeads, headDim } = this.#shape
    const fitting = codec === 'residual' ? residualValues / (2 * kvHeads * headDim * tileTokens) : tileBytes / layer
    const tileLayers = Math.min(layers, Math.max(1, Math.floor(fitting)))
    const mostBytes = Math.min(mostTileBytes, tileLayers * layer)
    const tile = { codec, from, to, tileTokens, tileLayers, mostBytes }
    if (codec !== 'residual') return { ...tile, promptTokens: to, firstLayer: 0, table: new Uint8Array(0) }
    const { firstLayer, steps } = this.#residuals!
    return { ...tile, promptTokens: ids.length, firstLayer, table: encodeSteps(steps, coarseness) }
  }

  /** Another codec for a prompt whose tokens are all exact on the receiver, too. */
  #residualOr(other: WireCodec, from: number, length: number): WireCodec {
    if (!this.#residuals)
      throw new ForetokenError('unsupported', 'residual corrects a prediction: load the engine with a predictor')
    return this.#residuals.prediction.predicts(from, length) ? 'residual' : other
  }

  /** Payload bytes of a tile's layer, of the largest one. */
  #layerBytes(codec: WireCodec): number {
    let most = 0
    for (let from = 0; from < this.#shape.layers; from++)
      most = Math.max(most, this.#codec.kvBytes(this.#cache.pool, { from, to: from + 1 }, tileTokens, codec))
    return most
  }
}

type RangeOptions = Pick<KvOptions, 'codec' | 'coarseness' | 'from' | 'to'>

/** The prompt in the scheduler. Pages with tokens to be sent are held until they were, whatever becomes of the request. */
class Reading implements Job {
  readonly ids: readonly number[]
  readonly tenant: string
  /** Aborted when the request ends, for whatever reason. */
  readonly signal: AbortSignal
  /** Tokens that are computed, and whose pages are held. */
  done: number
  ended = false
  error: ForetokenError | undefined
  /** By position. */
  readonly pages: number[] = []
  readonly #cache: PagedCache
  readonly #at = { begun: performance.now(), admitted: 0, prefilled: 0 }
  #sequence: Sequence | undefined
  #cached = 0
  #closed = false
  /** Pages before this one were dropped. */
  #dropped: number

  constructor(ids: readonly number[], from: number, tenant: string, signal: AbortSignal, cache: PagedCache) {
    this.ids = ids
    this.tenant = tenant
    this.signal = signal
    this.done = from
    this.#dropped = from / pageTokens
    this.#cache = cache
  }

  get timings(): Pick<KvTimings, 'queue_ms' | 'prefill_ms' | 'total_ms' | 'cached_tokens'> {
    const { begun, admitted, prefilled } = this.#at
    return {
      queue_ms: admitted - begun,
      prefill_ms: prefilled - begun,
      total_ms: performance.now() - begun,
      cached_tokens: this.#cached,
    }
  }

  onBegin(sequence: Sequence, cached: number): void {
    this.#sequence = sequence
    this.#at.admitted ||= performance.now()
    this.#cached = cached
  }

  /** Holds the pages of what has been computed; whole ones, but for the last of the prompt. */
  onPrefill(done: number, total: number): void {
    // In a pass that was under way when the request ended.
    if (this.#closed) return
    const ready = done === total ? total : done - (done % pageTokens)
    for (let page = Math.ceil(this.done / pageTokens); page < Math.ceil(ready / pageTokens); page++) {
      this.pages[page] = this.#sequence!.pages[page]!
      this.#cache.share(this.pages[page]!)
    }
    this.done = Math.max(this.done, ready)
    if (done === total) this.#at.prefilled = performance.now()
  }

  readonly best = 1

  take(): undefined {}

  end(error?: ForetokenError): void {
    this.ended = true
    this.error = error
  }

  /** Lets the pages go that were sent. */
  drop(to: number): void {
    for (; this.#dropped < Math.ceil(to / pageTokens); this.#dropped++) this.#cache.drop(this.pages[this.#dropped]!)
  }

  /** Lets all pages go, and holds none from now on. */
  close(): void {
    this.#closed = true
    this.drop(this.done)
  }
}
