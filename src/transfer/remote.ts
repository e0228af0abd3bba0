/**
 * A companion, seen from the edge: it prefills a prompt and sends its K and V, answers a prompt whole, and tells how busy it is.
 *
 * All that comes from it is checked and bounded: statuses, sizes, times, every event. Redirects are refused. What goes wrong is
 * `remote` (or what the stream of K and V itself says), so that whoever asks can do the work here.
 */

import { ForetokenError } from '../base/errors.ts'
import type { WireCodec } from '../base/kv.ts'
import { Lifetime } from '../base/lifetime.ts'
import { isWhole } from '../base/numbers.ts'
import { type Arrived, Feed } from './feed.ts'
import { readLines } from './lines.ts'
import { after } from './patience.ts'
import { LineSeal } from './seal.ts'
import { sign } from './signature.ts'

export interface CompanionAddress {
  /** Of the operator's configuration, never of a request: `https://mac.example:8788`. */
  readonly url: string
  /** Names the key. */
  readonly id: string
  /** Shared with the companion. */
  readonly key: Uint8Array
}

/** How long the network may leave the edge waiting. The clock stands while this edge reads nothing. */
export interface Patience {
  /** Until the first byte of what was asked for. */
  readonly firstMs: number
  /** Between two pieces. */
  readonly stallMs: number
}

export interface RemotePrompt {
  readonly ids: readonly number[]
  /** The model's identity (its weights), hex: another model's companion refuses. */
  readonly model: string
  /** Whose cached prefixes it may use. */
  readonly tenant: string
  /** Its abort frees everything, whether or not the answer is read. */
  readonly signal: AbortSignal
  /** Told the milliseconds for which so much lay here unread that the companion had to wait. */
  readonly onHeld?: (ms: number) => void
}

export interface KvRequest extends RemotePrompt {
  readonly codec: WireCodec
  readonly from: number
  readonly to: number
}

/** A stream of K and V, and what it was sealed with. */
export interface RemoteKv {
  readonly body: AsyncIterable<Uint8Array>
  readonly context: string
  /** What has arrived so far, and how fast; undefined where this edge was slower than the network. */
  arrived(): Arrived | undefined
}

export interface RelayRequest extends RemotePrompt {
  readonly maxTokens: number
  /** What sampling takes of the request; with a seed, so that the answer can go on here. */
  readonly options: Readonly<Record<string, unknown>>
  readonly after: readonly number[]
}

/** A token of a relayed answer; its text is made here. */
export interface RelayedToken {
  readonly id: number
  readonly logprob: number
  readonly topLogprobs?: readonly { readonly id: number; readonly logprob: number }[]
}

export interface CompanionStatus {
  /** The model's identity. */
  readonly model: string
  readonly build: string
  /** Answers and prefills under way, and waiting. */
  readonly running: number
  readonly waiting: number
  /** Milliseconds that it takes to read a token of a prompt, lately; undefined before it has read any. */
  readonly prefill_ms_per_token?: number
  readonly codecs: readonly string[]
  /** Round trip, as measured here. */
  readonly rtt_ms: number
}

export type Fetch = (input: string, init: RequestInit) => Promise<Response>

const longestStatus = 1 << 14
/** Requests that a companion may say to have; beyond that it makes no sense. */
const mostRequests = 1e6
/** A logarithm of a probability, but for rounding. */
const greatestLogprob = 1e-3

/** Statuses that blame the request: the companion does what it should. */
const ofRequest = new Set([400, 413, 415, 422])
const refusals = new WeakSet<Error>()

/** Whether a companion refused a request for what the request is. It may take the next one. */
export function isRefusal(error: unknown): boolean {
  return refusals.has(error as Error)
}

export class RemoteCompanion {
  readonly address: CompanionAddress
  readonly #fetch: Fetch
  readonly #patience: Patience

  constructor(address: CompanionAddress, fetch: Fetch, patience: Patience) {
    this.address = address
    this.#fetch = fetch
    this.#patience = patience
  }

  /** Asks for K and V. Rejects with `remote`, `aborted`; the body throws the same where it breaks off. */
  async kv({ signal, onHeld, ...asked }: KvRequest): Promise<RemoteKv> {
    const { feed, nonce } = await this.#ask('POST', '/v1/prefill', asked, signal, onHeld)
    return { body: feed, context: nonce, arrived: () => feed.arrived }
  }

  /** The tokens of a whole answer, as they come. Rejects with `remote`, `aborted`. */
  async *relay({ signal, onHeld, ...asked }: RelayRequest): AsyncGenerator<RelayedToken> {
    const { feed, nonce } = await this.#ask('POST', '/v1/relay', asked, signal, onHeld)
    try {
      const seal = await LineSeal.of(this.address.key, nonce)
      for await (const line of readLines(feed)) {
        const event = parsed(await seal.open(line))
        // Whatever it says behind its end is not waited for.
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
    asked: object | undefined,
    signal: AbortSignal,
    onHeld?: (ms: number) => void,
  ) {
    const { url, id, key } = this.address
    const { firstMs, stallMs } = this.#patience
    const body = new TextEncoder().encode(asked ? JSON.stringify(asked) : '')
    const { authorization, nonce } = await sign(id, key, { method, path, body })
    const call = new Call(signal)
    try {
      const stop = call.life.hold(after(firstMs, () => call.late(firstMs)))
      const asking = this.#fetch(`${url.replace(/\/+$/, '')}${path}`, {
        method,
        headers: { authorization, ...(asked && { 'content-type': 'application/json' }) },
        ...(asked && { body }),
        redirect: 'manual',
        signal: call.life.signal,
      })
      // A fetch that does not listen to its signal is not waited for either.
      const response = await call.life.until(asking, (late) => void late.body?.cancel().catch(() => {}))
      stop()
      if (response.status !== 200 || !response.body) {
        void response.body?.cancel().catch(() => {})
        const error = broken(`it answered ${response.status || 'with a redirect'}`)
        if (ofRequest.has(response.status)) refusals.add(error)
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

/** One request to a companion: everything that it holds here ends with its lifetime. */
class Call {
  readonly life = new Lifetime()
  readonly #caller: AbortSignal
  #lateMs: number | undefined

  constructor(caller: AbortSignal) {
    this.#caller = caller
    this.life.follow(caller)
  }

  /** Nothing came within `ms`. */
  late(ms: number): void {
    if (this.life.ended) return
    this.#lateMs = ms
    void this.life.end()
  }

  /** What `error` is, once it is known why the request ended. */
  explain(error: unknown): ForetokenError {
    if (error instanceof ForetokenError) return error
    if (this.#caller.aborted) return new ForetokenError('aborted', 'the request was cancelled')
    if (this.#lateMs !== undefined) return broken(`nothing came within ${Math.round(this.#lateMs)} ms`)
    return broken(error instanceof Error ? error.message : String(error), error)
  }
}

function parsed(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch {
    // Told below.
  }
  throw broken('what it said is no JSON object')
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
  const known = Array.isArray(codecs) ? codecs.filter((name) => typeof name === 'string') : []
  const measured = typeof ms === 'number' && ms > 0 && ms < 1e6
  return { model, build, running, waiting, codecs: known, ...(measured && { prefill_ms_per_token: ms }) }
}

function tokenOf({ id, logprob, topLogprobs }: Record<string, unknown>): RelayedToken {
  const scored = (value: unknown): value is RelayedToken => {
    const { id, logprob } = (value ?? {}) as Record<string, unknown>
    const probable = typeof logprob === 'number' && Number.isFinite(logprob) && logprob <= greatestLogprob
    return isWhole(id, 0, Number.POSITIVE_INFINITY) && probable
  }
  const own = { id, logprob }
  if (!scored(own)) throw broken('a token makes no sense')
  if (topLogprobs === undefined) return own
  if (!Array.isArray(topLogprobs) || !topLogprobs.every(scored)) throw broken('log-probabilities make no sense')
  return { ...own, topLogprobs: topLogprobs.map(({ id, logprob }) => ({ id, logprob })) }
}

function broken(why: string, cause?: unknown): ForetokenError {
  return new ForetokenError('remote', `the companion failed: ${why}; the prompt is read here`, { cause })
}
