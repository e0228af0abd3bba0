/**
 * Signed requests between an edge and its companion, version 1.
 *
 *     authorization: Foretoken id=ID, time=MS, nonce=HEX, mac=HEX
 *
 * `mac` is HMAC-SHA-256 with the pair's key over six lines: `foretoken request 1`, the method, the path with its query, SHA-256 of the body
 * in hex, the time in milliseconds since 1970, and the nonce, 16 random bytes in hex. A companion takes a nonce once, and only while
 * its time is near its own: a recorded request is worth nothing. The nonce binds the answer, too: a stream of K and V is sealed with it.
 */
import { ForetokenError } from '../errors.ts'

/** What a request says of itself. */
export interface Signed {
  /** Names the key. */
  readonly id: string
  readonly time: number
  readonly nonce: string
  readonly mac: string
}

export interface SignedRequest {
  readonly method: string
  /** With the query. */
  readonly path: string
  readonly body: Uint8Array<ArrayBuffer>
}

export const leastKeyBytes = 16
const encoder = new TextEncoder()

/** The value of `authorization`, and the nonce in it. */
export async function sign(
  id: string,
  key: Uint8Array,
  request: SignedRequest,
  now = Date.now(),
): Promise<{ readonly authorization: string; readonly nonce: string }> {
  const nonce = hex(crypto.getRandomValues(new Uint8Array(16)))
  const text = await textOf(request, now, nonce)
  const mac = hex(new Uint8Array(await crypto.subtle.sign('HMAC', await hmacKey(key), text)))
  return { authorization: `Foretoken id=${id}, time=${now}, nonce=${nonce}, mac=${mac}`, nonce }
}

/** What an `authorization` says; undefined for any that is not of this kind. */
export function parseSigned(authorization: string | null | undefined): Signed | undefined {
  const found = /^Foretoken id=([\w.-]{1,64}), time=(\d{1,15}), nonce=([0-9a-f]{32}), mac=([0-9a-f]{64})$/.exec(
    authorization ?? '',
  )
  if (!found) return undefined
  const [, id, time, nonce, mac] = found
  return { id: id!, time: Number(time), nonce: nonce!, mac: mac! }
}

/** Whether the mac is of this request and key; compared in constant time by the platform. */
export async function isSignedBy(
  key: Uint8Array,
  { time, nonce, mac }: Signed,
  request: SignedRequest,
): Promise<boolean> {
  const given = Uint8Array.from(mac.match(/../g)!, (pair) => Number.parseInt(pair, 16))
  return crypto.subtle.verify('HMAC', await hmacKey(key), given, await textOf(request, time, nonce))
}

/** Nonces that were taken lately: one that comes again is a replay. */
export class Nonces {
  readonly #windowMs: number
  readonly #most: number
  /** When each may be forgotten, in the order of arrival. */
  readonly #until = new Map<string, number>()

  /** A request's time may be `windowMs` off; at most `most` nonces are kept. */
  constructor(windowMs = 60_000, most = 100_000) {
    this.#windowMs = windowMs
    this.#most = most
  }

  /** Takes a nonce. Why it can't be taken, where it can't. */
  take({ id, nonce, time }: Signed, now = Date.now()): 'late' | 'replayed' | 'full' | undefined {
    if (Math.abs(time - now) > this.#windowMs) return 'late'
    for (const [old, until] of this.#until) {
      if (until > now) break
      this.#until.delete(old)
    }
    const name = `${id} ${nonce}`
    if (this.#until.has(name)) return 'replayed'
    // Forgetting one early would let it be replayed.
    if (this.#until.size >= this.#most) return 'full'
    // From the sender's future it stays valid for two windows.
    this.#until.set(name, now + 2 * this.#windowMs)
    return undefined
  }
}

/** A shared key from its text: 64 hex digits or more are bytes, all else is taken as it is. Throws `bad_argument` for a short one. */
export function keyBytes(text: string): Uint8Array<ArrayBuffer> {
  const bytes = /^([0-9a-f]{2}){32,}$/i.test(text)
    ? Uint8Array.from(text.match(/../g)!, (pair) => Number.parseInt(pair, 16))
    : encoder.encode(text)
  if (bytes.length >= leastKeyBytes) return bytes
  throw new ForetokenError(
    'bad_argument',
    `a companion's key has ${bytes.length} bytes; give at least ${leastKeyBytes}, such as 64 random hex digits`,
  )
}

async function textOf({ method, path, body }: SignedRequest, time: number, nonce: string) {
  const hash = hex(new Uint8Array(await crypto.subtle.digest('SHA-256', body)))
  return encoder.encode(['foretoken request 1', method, path, hash, time, nonce].join('\n'))
}

export function hmacKey(key: Uint8Array): Promise<CryptoKey> {
  return crypto.subtle.importKey('raw', new Uint8Array(key), { name: 'HMAC', hash: 'SHA-256' }, false, [
    'sign',
    'verify',
  ])
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
