/**
 * A companion, seen from the edge: it prefills a prompt and sends its K and V, answers a prompt whole, and tells how busy it is.
 *
 * All that comes from it is checked and bounded: statuses, sizes, times, every event. Redirects are refused. What goes wrong is
 * `remote` (or what the stream of K and V itself says), so that whoever asks can do the work here.
 */
import { ForetokenError } from '../errors.ts'
import type { WireCodec } from '../types.ts'
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

/** How long a companion may leave the edge waiting. */
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
  readonly signal: AbortSignal
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

/** A token's line with the log-probabilities that a request may ask for. */
const longestLine = 1 << 16
const longestStatus = 1 << 14

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
  async kv({ signal, ...asked }: KvRequest): Promise<RemoteKv> {
    const { response, watch, nonce } = await this.#ask('POST', '/v1/prefill', asked, signal)
    return { body: this.#pieces(response, watch), context: nonce }
  }

  /** The tokens of a whole answer, as they come. Rejects with `remote`, `aborted`. */
  async *relay({ signal, ...asked }: RelayRequest): AsyncGenerator<RelayedToken> {
    const { response, watch, nonce } = await this.#ask('POST', '/v1/relay', asked, signal)
    const seal = await LineSeal.of(this.address.key, nonce)
    let ended = false
    for await (const line of lines(this.#pieces(response, watch))) {
      const event = parsed(await seal.open(line))
      if (ended) throw broken('it said more after its end')
      if (event.done === true) ended = true
      else yield tokenOf(event)
    }
    if (!ended) throw broken('the answer broke off')
  }

  async status(signal: AbortSignal): Promise<CompanionStatus> {
    const begun = performance.now()
    const { response, watch } = await this.#ask('GET', '/v1/status', undefined, signal)
    const rtt_ms = performance.now() - begun
    let text = ''
    const decoder = new TextDecoder()
    for await (const piece of this.#pieces(response, watch)) {
      text += decoder.decode(piece, { stream: true })
      if (text.length > longestStatus) throw broken(`its status has more than ${longestStatus} bytes`)
    }
    const { model, build, running, waiting, prefill_ms_per_token: ms, codecs } = parsed(text)
    const whole = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0
    if (typeof model !== 'string' || typeof build !== 'string' || !whole(running) || !whole(waiting))
      throw broken('its status makes no sense')
    const known = Array.isArray(codecs) ? codecs.filter((name) => typeof name === 'string') : []
    const measured = typeof ms === 'number' && ms > 0 && ms < 1e6
    return { model, build, running, waiting, codecs: known, rtt_ms, ...(measured && { prefill_ms_per_token: ms }) }
  }

  async #ask(method: string, path: string, asked: object | undefined, signal: AbortSignal) {
    const { url, id, key } = this.address
    const body = new TextEncoder().encode(asked ? JSON.stringify(asked) : '')
    const { authorization, nonce } = await sign(id, key, { method, path, body })
    const watch = new Watch(signal)
    watch.expect(this.#patience.firstMs)
    try {
      const response = await this.#fetch(`${url.replace(/\/+$/, '')}${path}`, {
        method,
        headers: { authorization, ...(asked && { 'content-type': 'application/json' }) },
        ...(asked && { body }),
        redirect: 'manual',
        signal: watch.signal,
      })
      if (response.status !== 200 || !response.body) {
        void response.body?.cancel().catch(() => {})
        throw broken(`it answered ${response.status || 'with a redirect'}`)
      }
      return { response, watch, nonce }
    } catch (error) {
      watch.end()
      throw this.#told(error, watch)
    }
  }

  async *#pieces(response: Response, watch: Watch): AsyncGenerator<Uint8Array> {
    const reader = response.body!.getReader()
    try {
      for (;;) {
        const { done, value } = await reader.read()
        if (done) return
        watch.expect(this.#patience.stallMs)
        yield value
      }
    } catch (error) {
      throw this.#told(error, watch)
    } finally {
      watch.end()
      void reader.cancel().catch(() => {})
    }
  }

  #told(error: unknown, watch: Watch): ForetokenError {
    if (error instanceof ForetokenError) return error
    if (watch.cancelled) return new ForetokenError('aborted', 'the request was cancelled')
    if (watch.late !== undefined) return broken(`nothing came within ${Math.round(watch.late)} ms`)
    return broken(error instanceof Error ? error.message : String(error), error)
  }
}

/** A signal that fires when the caller's does, or when what is expected does not come. */
class Watch {
  readonly #control = new AbortController()
  readonly #caller: AbortSignal
  readonly #leave = () => this.#control.abort()
  #stop = () => {}
  /** The time that was waited in vain. */
  late: number | undefined

  constructor(caller: AbortSignal) {
    this.#caller = caller
    if (caller.aborted) this.#control.abort()
    else caller.addEventListener('abort', this.#leave, { once: true })
  }

  get signal(): AbortSignal {
    return this.#control.signal
  }

  get cancelled(): boolean {
    return this.#caller.aborted
  }

  expect(ms: number): void {
    this.#stop()
    this.#stop = after(ms, () => {
      this.late = ms
      this.#control.abort()
    })
  }

  end(): void {
    this.#stop()
    this.#caller.removeEventListener('abort', this.#leave)
  }
}

async function* lines(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let held = ''
  for await (const piece of pieces) {
    const parts = (held + decoder.decode(piece, { stream: true })).split('\n')
    held = parts.pop()!
    if (held.length > longestLine) throw broken(`a line has more than ${longestLine} characters`)
    yield* parts
  }
  if (held !== '') throw broken('the answer broke off in the middle of a line')
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

function tokenOf({ id, logprob, topLogprobs }: Record<string, unknown>): RelayedToken {
  const scored = (value: unknown): value is RelayedToken => {
    const { id, logprob } = (value ?? {}) as Record<string, unknown>
    return Number.isInteger(id) && (id as number) >= 0 && typeof logprob === 'number'
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
