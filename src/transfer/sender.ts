/**
 * Computes a prompt's exact K and V among all other requests and streams them to another engine as
 * they are made.
 */

import { at, defined } from '../base/at.ts'
import { Callback } from '../base/callback.ts'
import { throwIfAborted } from '../base/cancelled.ts'
import { signalOf, textOf } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import { bytes, type Checks, callable, nameOf, needed, numberFrom, wholeFrom } from '../base/fields.ts'
import { pageTokens } from '../base/kv.ts'
import { type KvCodec, type KvCoding, type WireCodec, wireCodecs } from '../base/kv-codec.ts'
import { Lifetime } from '../base/lifetime.ts'
import { isWhole } from '../base/numbers.ts'
import type { Scheduler } from '../decode/scheduler.ts'
import type { Job } from '../decode/task.ts'
import type { PagedCache } from '../kv/paged.ts'
import type { PrefixIndex } from '../kv/prefix.ts'
import type { Sequence } from '../kv/sequence.ts'
import { type Ahead, PredictedPrompt } from '../prefill/ahead.ts'
import { type KvIdentity, type KvRange, type KvShape, mostTileBytes } from './format.ts'
import { decodeSteps, encodeSteps, type ResidualSteps, stepsOf } from './residual.ts'
import type { WireTile } from './tiles.ts'
import { writeWire } from './wire.ts'

export interface KvOptions {
  /**
   * `residual` becomes `int8` for a prompt that is too short to be predicted, and throws
   * `unsupported` without a predictor.
   */
  readonly codec: WireCodec
  /**
   * Factor on the model's quantiser steps, for `residual` only. Default 1: a KL divergence of about
   * .02 from exact.
   */
  readonly coarseness?: number
  /** Seals the stream; the reader must have the same key. At least 16 bytes. */
  readonly key: Uint8Array
  /** Binds the stream to a request, for example by a nonce. The reader must know it. Default ''. */
  readonly context?: string
  /** Number of tokens that the receiver holds: whole pages, a multiple of 16. Default 0. */
  readonly from?: number
  /**
   * The position after the last token to send. Default: all but the last token, whose logits the
   * receiver has to compute.
   */
  readonly to?: number
  /** The tenant whose cached prefixes may be used. Default ''. */
  readonly tenant?: string
  readonly signal?: AbortSignal | undefined
  /** Called once, before the stream ends. */
  readonly onTimings?: ((timings: KvTimings) => void) | undefined
}

/** The checks of `KvOptions`; `KvSender` checks the range of positions. */
export const kvChecks: Checks<KvOptions> = {
  codec: needed(nameOf(wireCodecs)),
  coarseness: numberFrom(Number.MIN_VALUE, 1e6),
  key: needed(bytes),
  context: textOf,
  from: wholeFrom(0),
  to: wholeFrom(1),
  tenant: textOf,
  signal: (name, value) => signalOf(name, value) as AbortSignal,
  onTimings: callable(),
}

/** Milliseconds from the call, except `encode_ms`. */
export interface KvTimings {
  /** Until the scheduler admitted the request. */
  readonly queue_ms: number
  /** Until all tokens were computed. */
  readonly prefill_ms: number
  /** Until all tiles were sent. */
  readonly total_ms: number
  /** Time spent encoding alone. */
  readonly encode_ms: number
  readonly tokens: number
  /** Number of the prompt's tokens that the prefix cache had. */
  readonly cached_tokens: number
  readonly bytes: number
}

/** Approximate tokens and payload bytes of a tile: small enough that the first one leaves early. */
const tileTokens = 64
const tileBytes = 1 << 18
/** Values of a residual tile. Its maximum size in bytes says little about its actual size. */
const residualValues = 1 << 17

/** What `residual` needs: the predictor, and the quantiser's steps for it. */
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
   * Yields the pieces of a stream. Throws `bad_argument`, and what a request throws. Holds nothing
   * before the first piece is requested; from then on an abort of the signal frees all pages,
   * whether or not anybody reads on.
   */
  async *send(
    ids: readonly number[],
    identity: KvIdentity,
    { key, context, signal, tenant = '', onTimings, ...options }: KvOptions,
  ): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const timingsCallback = new Callback('onTimings', onTimings)
    const range = this.#rangeOf(ids, options)
    const residual = range.codec === 'residual'
    const life = new Lifetime()
    const reading = new Reading(ids, { ...range, from: residual ? 0 : range.from }, tenant, life.signal, this.#cache)
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
      const payload = await this.#codec.encodeKv(this.#cache.pool, { ...tile, pages: reading.pages }, coding)
      encoding += performance.now() - begun
      return payload
    }
    const payload = async (tile: WireTile) => {
      await this.#scheduler.drive(() => reading.ended || reading.done >= tile.to)
      throwIfAborted(signal)
      if (reading.error) throw reading.error
      const work = encoded(tile)
      working = work
      const encodedTile = await work
      working = undefined
      throwIfAborted(signal)
      if (tile.layers.to === this.#shape.layers) reading.drop(tile.to)
      return encodedTile
    }
    life.hold(() => reading.close())
    life.hold(() => predicted?.release())
    // Pages that are being read or written must not be reused yet.
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
      timingsCallback.call({ ...reading.timings, encode_ms: encoding, tokens: range.to - range.from, bytes })
      await timingsCallback.settle()
    } finally {
      await life.end()
    }
  }

  /** Predicts the prompt as the receiver does, which already has the pages `held`. */
  #predict(ids: readonly number[], held: readonly number[]): PredictedPrompt {
    this.#prefixes.evict(Math.ceil(ids.length / pageTokens) - held.length - this.#cache.pagesFree)
    return new PredictedPrompt(defined(this.#residuals), ids, held)
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
    if (!isWhole(to, 1, ids.length))
      throw new ForetokenError('bad_argument', `to is ${to} of ${ids.length} tokens; it must be from 1 to that`)
    if (!isWhole(from, 0, to - 1) || from % pageTokens !== 0)
      throw new ForetokenError('bad_argument', `from is ${from}; it must be a multiple of ${pageTokens} below ${to}`)
    const codec = wanted === 'residual' ? this.#residualOr('int8', from, ids.length) : wanted
    const layer = this.#layerBytes(codec)
    const { layers, kvHeads, headDim } = this.#shape
    const layersPerTile =
      codec === 'residual' ? residualValues / (2 * kvHeads * headDim * tileTokens) : tileBytes / layer
    const tileLayers = Math.min(layers, Math.max(1, Math.floor(layersPerTile)))
    const mostBytes = Math.min(mostTileBytes, tileLayers * layer)
    const tile = { codec, from, to, tileTokens, tileLayers, mostBytes }
    if (codec !== 'residual') return { ...tile, promptTokens: to, firstLayer: 0, table: new Uint8Array(0) }
    const { firstLayer, steps } = defined(this.#residuals)
    return { ...tile, promptTokens: ids.length, firstLayer, table: encodeSteps(steps, coarseness) }
  }

  /** Returns `other` for a prompt whose tokens are all exact at the receiver, too. */
  #residualOr(other: WireCodec, from: number, length: number): WireCodec {
    if (!this.#residuals)
      throw new ForetokenError('unsupported', 'residual corrects a prediction: load the engine with a predictor')
    return this.#residuals.prediction.predicts(from, length) ? 'residual' : other
  }

  /** Returns the payload bytes of the largest layer of a tile. */
  #layerBytes(codec: WireCodec): number {
    let most = 0
    for (let from = 0; from < this.#shape.layers; from++)
      most = Math.max(most, this.#codec.kvBytes(this.#cache.pool, { from, to: from + 1 }, tileTokens, codec))
    return most
  }
}

type RangeOptions = Pick<KvOptions, 'codec' | 'coarseness' | 'from' | 'to'>

/**
 * The prompt as a job of the scheduler. Pages whose tokens are to be sent are held until they are
 * sent, whatever happens to the request.
 */
class Reading implements Job {
  readonly ids: readonly number[]
  readonly promptTokens: number
  readonly tenant: string
  /** Aborted when the request ends, for any reason. */
  readonly signal: AbortSignal
  /** Number of tokens that are computed and whose pages are held. */
  done: number
  ended = false
  error: ForetokenError | undefined
  /** Pages by position. */
  readonly pages: number[] = []
  readonly #cache: PagedCache
  readonly #at = { begun: performance.now(), admitted: 0, prefilled: 0 }
  #sequence: Sequence | undefined
  #cached = 0
  #closed = false
  /** Pages before this index were released. */
  #dropped: number

  constructor(
    ids: readonly number[],
    { from, to }: Pick<KvRange, 'from' | 'to'>,
    tenant: string,
    signal: AbortSignal,
    cache: PagedCache,
  ) {
    this.ids = ids.slice(0, to)
    this.promptTokens = ids.length
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

  /** Holds the pages computed so far: whole ones, except at the end of the prompt. */
  onPrefill(done: number, total: number): void {
    // The pass began before the request ended.
    if (this.#closed) return
    const ready = done === total ? total : done - (done % pageTokens)
    const { pages } = defined(this.#sequence)
    for (let index = Math.ceil(this.done / pageTokens); index < Math.ceil(ready / pageTokens); index++) {
      const page = at(pages, index)
      this.pages[index] = page
      this.#cache.share(page)
    }
    this.done = Math.max(this.done, ready)
    if (done === total) this.#at.prefilled = performance.now()
  }

  readonly best = 1

  chooseTokens(): undefined {}

  end(error?: ForetokenError): void {
    this.ended = true
    this.error = error
  }

  /** Releases the pages before position `to`, which were sent. */
  drop(to: number): void {
    for (; this.#dropped < Math.ceil(to / pageTokens); this.#dropped++) this.#cache.drop(at(this.pages, this.#dropped))
  }

  /** Releases all pages, and holds none from now on. */
  close(): void {
    this.#closed = true
    this.drop(this.done)
  }
}
