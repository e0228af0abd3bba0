/**
 * A companion as an edge sees it: it prefills a prompt and sends its K and V, answers a whole
 * prompt, and reports its load.
 *
 * All that it sends is checked and bounded: statuses, sizes, times, every event. Redirects are
 * refused. Failures are `remote` errors (or those of the stream of K and V), so that the caller can
 * do the work here instead.
 */

import { cancelled } from '../base/cancelled.ts'
import { bytesOf, functionOf, textOf, withArguments } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import { type Checks, checkedFields, needed, numberFrom } from '../base/fields.ts'
import type { WireCodec } from '../base/kv-codec.ts'
import { Lifetime } from '../base/lifetime.ts'
import { isWhole } from '../base/numbers.ts'
import { after } from '../base/timeout.ts'
import { type Arrived, Feed } from './feed.ts'
import { readLines } from './lines.ts'
import { LineSeal } from './seal.ts'
import { sign } from './signature.ts'

export interface CompanionAddress {
  /** From the operator's configuration, never from a request: `https://mac.example:8788`. */
  readonly url: string
  /** The name of the key. */
  readonly id: string
  /** The key that this edge shares with the companion. */
  readonly key: Uint8Array
}

/** Timeouts, in milliseconds. The clock stands while this edge reads nothing. */
export interface Patience {
  /** Until the first byte of the answer. */
  readonly firstMs: number
  /** Between two pieces of it. */
  readonly stallMs: number
}

/** The checks of `CompanionAddress`. */
export const addressChecks: Checks<CompanionAddress> = {
  url: needed(textOf),
  id: needed(textOf),
  key: needed(bytesOf),
}

/** The checks of `Patience`. */
export const patienceChecks: Checks<Patience> = {
  firstMs: needed(numberFrom(0, Number.POSITIVE_INFINITY)),
  stallMs: needed(numberFrom(0, Number.POSITIVE_INFINITY)),
}

export interface RemotePrompt {
  readonly ids: readonly number[]
  /** The identity of the model (its weights) in hex. A companion with another model refuses. */
  readonly model: string
  /** The tenant whose cached prefixes may be used. */
  readonly tenant: string
  /** Aborting it frees everything, whether or not the answer is read. */
  readonly signal: AbortSignal
  /**
   * Called with the milliseconds for which the companion had to wait because too much lay here
   * unread.
   */
  readonly onHeld?: (ms: number) => void
}

export interface KvRequest extends RemotePrompt {
  readonly codec: WireCodec
  readonly from: number
  readonly to: number
}

/** A stream of K and V, and the context that it was sealed with. */
export interface RemoteKv {
  readonly body: AsyncIterable<Uint8Array>
  readonly context: string
  /**
   * Returns what has arrived so far and how fast; undefined if this edge was slower than the
   * network.
   */
  arrived(): Arrived | undefined
}

export interface RelayRequest extends RemotePrompt {
  readonly maxTokens: number
  /** The sampling options of the request, with a seed, so that the answer can continue here. */
  readonly options: Readonly<Record<string, unknown>>
  readonly after: readonly number[]
}

/** A token of a relayed answer. Its text is made here. */
export interface RelayedToken {
  readonly id: number
  readonly logprob: number
  readonly topLogprobs?: readonly { readonly id: number; readonly logprob: number }[]
}

export interface CompanionStatus {
  /** The identity of its model. */
  readonly model: string
  readonly build: string
  /** Number of answers and prefills that run, and that wait. */
  readonly running: number
  readonly waiting: number
  /** Recent milliseconds per prompt token; undefined before it has read any. */
  readonly prefill_ms_per_token?: number
  readonly codecs: readonly string[]
  /** Round-trip time, as measured here. */
  readonly rtt_ms: number
}

export type Fetch = (input: string, init: RequestInit) => Promise<Response>

const longestStatus = 1 << 14
/** The most requests that a companion can plausibly report. */
const mostRequests = 1e6
/** Log-probabilities are at most 0, but for rounding. */
const greatestLogprob = 1e-3

/** HTTP statuses that blame the request, not the companion. */
const requestFaults = new Set([400, 413, 415, 422])
const refusals = new WeakSet<Error>()

/** Returns true if the companion refused the request itself. It may accept the next one. */
export function isRefusal(error: unknown): boolean {
  return refusals.has(error as Error)
}

export class RemoteCompanion {
  readonly address: CompanionAddress
  readonly #fetch: Fetch
  readonly #patience: Patience

  /** Throws `bad_argument`. */
  constructor(address: CompanionAddress, fetch: Fetch, patience: Patience) {
    const checked = withArguments('RemoteCompanion', () => ({
      address: checkedFields('address', address, addressChecks),
      fetch: functionOf('fetch', fetch),
      patience: checkedFields('patience', patience, patienceChecks),
    }))
    this.address = checked.address
    this.#fetch = checked.fetch
    this.#patience = checked.patience
  }

  /**
   * Requests K and V. Rejects with `remote` or `aborted`; the body throws the same if it breaks
   * off.
   */
  async kv({ signal, onHeld, ...request }: KvRequest): Promise<RemoteKv> {
    const { feed, nonce } = await this.#ask('POST', '/v1/prefill', request, signal, onHeld)
    return { body: feed, context: nonce, arrived: () => feed.arrived }
  }

  /** Yields the tokens of a whole answer as they arrive. Rejects with `remote` or `aborted`. */
  async *relay({ signal, onHeld, ...request }: RelayRequest): AsyncGenerator<RelayedToken> {
    const { feed, nonce } = await this.#ask('POST', '/v1/relay', request, signal, onHeld)
    try {
      const seal = await LineSeal.of(this.address.key, nonce)
      for await (const line of readLines(feed)) {
        const event = parsed(await seal.open(line))
        // Nothing after the end is waited for.
        if (event.done === true) return
        yield tokenOf(event)
      }
      throw broken('the answer broke off')
    } finally {
      await feed.return()
    }
  }

  async status(signal: AbortSignal): Promise<CompanionStatus> {
    const begun = performance.now()
    const { feed } = await this.#ask('GET', '/v1/status', undefined, signal)
    const rtt_ms = performance.now() - begun
    try {
      let text = ''
      const decoder = new TextDecoder()
      for await (const piece of feed) {
        if (text.length + piece.length > longestStatus) throw broken(`its status has more than ${longestStatus} bytes`)
        text += decoder.decode(piece, { stream: true })
      }
      return { ...statusOf(parsed(text)), rtt_ms }
    } finally {
      await feed.return()
    }
  }

  async #ask(
    method: string,
    path: string,
    request: object | undefined,
    signal: AbortSignal,
    onHeld?: (ms: number) => void,
  ) {
    const { url, id, key } = this.address
    const { firstMs, stallMs } = this.#patience
    const body = new TextEncoder().encode(request ? JSON.stringify(request) : '')
    const { authorization, nonce } = await sign(id, key, { method, path, body })
    const call = new Call(signal)
    try {
      const stop = call.life.hold(after(firstMs, () => call.late(firstMs)))
      const asking = this.#fetch(`${url.replace(/\/+$/, '')}${path}`, {
        method,
        headers: { authorization, ...(request && { 'content-type': 'application/json' }) },
        ...(request && { body }),
        redirect: 'manual',
        signal: call.life.signal,
      })
      // A fetch that ignores its signal is not waited for either.
      const response = await call.life.until(asking, (late) => void late.body?.cancel().catch(() => {}))
      stop()
      if (response.status !== 200 || !response.body) {
        void response.body?.cancel().catch(() => {})
        const error = broken(`it answered ${response.status || 'with a redirect'}`)
        if (requestFaults.has(response.status)) refusals.add(error)
        throw error
      }
      const explain = (error: unknown) => call.explain(error)
      const onStall = () => call.late(stallMs)
      return { feed: new Feed(response.body, call.life, { stallMs, onStall, explain, onHeld }), nonce }
    } catch (error) {
      const explained = call.explain(error)
      void call.life.end()
      throw explained
    }
  }
}

/** One request to a companion. Its lifetime ends everything that it holds here. */
class Call {
  readonly life = new Lifetime()
  readonly #caller: AbortSignal
  #lateMs: number | undefined

  constructor(caller: AbortSignal) {
    this.#caller = caller
    this.life.follow(caller)
  }

  /** Ends the request because nothing came within `ms`. */
  late(ms: number): void {
    if (this.life.ended) return
    this.#lateMs = ms
    void this.life.end()
  }

  /** Turns `error` into the reason for which the request ended. */
  explain(error: unknown): ForetokenError {
    if (error instanceof ForetokenError) return error
    if (this.#caller.aborted) return cancelled()
    if (this.#lateMs !== undefined) return broken(`nothing came within ${Math.round(this.#lateMs)} ms`)
    return broken(error instanceof Error ? error.message : String(error), error)
  }
}

function parsed(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch {
    // Thrown below.
  }
  throw broken('it sent something that is not a JSON object')
}

function statusOf({
  model,
  build,
  running,
  waiting,
  prefill_ms_per_token: ms,
  codecs,
}: Record<string, unknown>): Omit<CompanionStatus, 'rtt_ms'> {
  const count = (value: unknown) => isWhole(value, 0, mostRequests)
  if (typeof model !== 'string' || typeof build !== 'string' || !count(running) || !count(waiting))
    throw broken('its status makes no sense')
  const names = Array.isArray(codecs) ? codecs.filter((name) => typeof name === 'string') : []
  const measured = typeof ms === 'number' && ms > 0 && ms < 1e6
  return { model, build, running, waiting, codecs: names, ...(measured && { prefill_ms_per_token: ms }) }
}

function tokenOf({ id, logprob, topLogprobs }: Record<string, unknown>): RelayedToken {
  const scored = (value: unknown): value is RelayedToken => {
    const { id, logprob } = (value ?? {}) as Record<string, unknown>
    const probable = typeof logprob === 'number' && Number.isFinite(logprob) && logprob <= greatestLogprob
    return isWhole(id, 0, Number.POSITIVE_INFINITY) && probable
  }
  const token = { id, logprob }
  if (!scored(token)) throw broken('a token makes no sense')
  if (topLogprobs === undefined) return token
  if (!Array.isArray(topLogprobs) || !topLogprobs.every(scored)) throw broken('log-probabilities make no sense')
  return { ...token, topLogprobs: topLogprobs.map(({ id, logprob }) => ({ id, logprob })) }
}

function broken(why: string, cause?: unknown): ForetokenError {
  return new ForetokenError('remote', `the companion failed: ${why}; the prompt is read here`, { cause })
}
