/**
 * Signed requests between an edge and its companion, version 2.
 *
 *     authorization: Foretoken v=2, id=ID, time=MS, nonce=HEX, length=BYTES, sha256=HEX, mac=HEX
 *
 * `length` and `sha256` are the body's. `mac` is HMAC-SHA-256 with the pair's key over eight lines: `foretoken request 2`, the id, the method, the path with
 * its query, the time in milliseconds since 1970, the nonce (16 random bytes in hex), the length and the hash. So the head alone tells who asks and how
 * much will follow: a companion reads no byte of a body before it has checked the head. It takes a nonce once, and only while its time is near its own: a
 * recorded request is worth nothing. The nonce binds the answer, too: a stream of K and V is sealed with it.
 *
 * Version 1 hashed the body into the MAC, so that it had to be read first. It is refused.
 */

import { bytesOf as checkedBytes, textOf as checkedText, withArguments } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import { fromHex, sha256Hex, toHex } from '../base/hash.ts'

export const signatureVersion = 2

/** What a request says of itself. */
export interface Signed {
  /** Names the key. */
  readonly id: string
  /** Milliseconds since 1970. */
  readonly time: number
  readonly nonce: string
  /** Bytes of the body. */
  readonly length: number
  /** SHA-256 of the body, hex. */
  readonly sha256: string
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
export function sign(
  id: string,
  key: Uint8Array,
  request: SignedRequest,
  now = Date.now(),
): Promise<{ readonly authorization: string; readonly nonce: string }> {
  return withArguments('sign', () => signed(checkedText('id', id), key, request, now))
}

async function signed(id: string, key: Uint8Array, { method, path, body }: SignedRequest, now: number) {
  checkedBytes('body', body)
  const nonce = toHex(crypto.getRandomValues(new Uint8Array(16)))
  const head = { id, time: now, nonce, length: body.length, sha256: await sha256Hex(body) }
  const text = textOf(head, { method, path })
  const mac = toHex(new Uint8Array(await crypto.subtle.sign('HMAC', await hmacKey(key), text)))
  const { length, sha256 } = head
  return {
    authorization: `Foretoken v=${signatureVersion}, id=${id}, time=${now}, nonce=${nonce}, length=${length}, sha256=${sha256}, mac=${mac}`,
    nonce,
  }
}

const pattern =
  /^Foretoken v=2, id=([\w.-]{1,64}), time=(\d{1,15}), nonce=([0-9a-f]{32}), length=(\d{1,10}), sha256=([0-9a-f]{64}), mac=([0-9a-f]{64})$/

/** What an `authorization` says; undefined for any that is not of this kind and version. */
export function parseSigned(authorization: string | null | undefined): Signed | undefined {
  const found = typeof authorization === 'string' ? pattern.exec(authorization) : undefined
  if (!found) return undefined
  const [, id, time, nonce, length, sha256, mac] = found
  return { id: id!, time: Number(time), nonce: nonce!, length: Number(length), sha256: sha256!, mac: mac! }
}

/** The version of an `authorization` of this kind, whichever it is; undefined for any other text. */
export function signedVersion(authorization: string | null | undefined): number | undefined {
  const found = typeof authorization === 'string' ? /^Foretoken (?:v=(\d{1,3}), )?id=/.exec(authorization) : undefined
  return found ? Number(found[1] ?? 1) : undefined
}

/** Whether the MAC is of this head and key. With a `body`: whether that is the one that was signed, too. Compares in constant time. */
export function isSignedBy(
  key: Uint8Array,
  signed: Signed,
  request: Omit<SignedRequest, 'body'> & Partial<Pick<SignedRequest, 'body'>>,
): Promise<boolean> {
  return withArguments('isSignedBy', async () => {
    const valid = await crypto.subtle.verify('HMAC', await hmacKey(key), fromHex(signed.mac), textOf(signed, request))
    if (!valid || !request.body) return valid
    return isBodyOf(signed, request.body)
  })
}

/** Whether a body is the one that was signed. Compares in constant time. */
export function isBodyOf(signed: Signed, body: Uint8Array<ArrayBuffer>): Promise<boolean> {
  return withArguments('isBodyOf', async () => {
    const { length, sha256 } = signed
    const found = await sha256Hex(checkedBytes('body', body))
    let difference = length ^ body.length
    for (let at = 0; at < found.length; at++) difference |= found.charCodeAt(at) ^ sha256.charCodeAt(at)
    return difference === 0
  })
}

/** How finely nonces are forgotten, of the time that they are kept. */
const slots = 16

/** What is kept of one edge. */
interface Kept {
  /** Nonces by the slot of time in which they were signed. */
  readonly slots: Map<number, Set<string>>
  count: number
  /** Everything that was signed before this time has been forgotten. */
  forgotten: number
}

/** Nonces that were taken lately: one that comes again is a replay. Each edge has a table of its own, so that a full one shuts out nobody else. */
export class Nonces {
  readonly #windowMs: number
  readonly #most: number
  readonly #slotMs: number
  readonly #edges = new Map<string, Kept>()

  /** A request's time may be `windowMs` off; at most `most` nonces of an edge are kept. */
  constructor(windowMs = 60_000, most = 20_000) {
    this.#windowMs = windowMs
    this.#most = most
    this.#slotMs = Math.max(1, Math.ceil(windowMs / slots))
  }

  /** Whether a request's time is too far off. */
  isLate({ time }: Pick<Signed, 'time'>, now = Date.now()): boolean {
    return Math.abs(time - now) > this.#windowMs
  }

  /** Takes a nonce of a request whose MAC is right. Why it can't be taken, where it can't. */
  take(
    { id, nonce, time }: Pick<Signed, 'id' | 'nonce' | 'time'>,
    now = Date.now(),
  ): 'late' | 'replayed' | 'full' | undefined {
    if (this.isLate({ time }, now)) return 'late'
    const kept = this.#edges.get(id) ?? { slots: new Map(), count: 0, forgotten: Number.NEGATIVE_INFINITY }
    this.#forget(kept, now)
    // Where the clock here was put back, what was forgotten must not be taken again.
    if (time < kept.forgotten) return 'late'
    const slot = Math.floor(time / this.#slotMs)
    const nonces = kept.slots.get(slot) ?? new Set()
    if (nonces.has(nonce)) return 'replayed'
    // Forgetting one early would let it be replayed.
    if (kept.count >= this.#most) return 'full'
    this.#edges.set(id, kept)
    kept.slots.set(slot, nonces.add(nonce))
    kept.count++
    return undefined
  }

  /** Forgets the nonces whose time has passed: a request with such a time is late. */
  #forget(kept: Kept, now: number): void {
    for (const [slot, nonces] of kept.slots) {
      const behind = (slot + 1) * this.#slotMs
      if (behind > now - this.#windowMs) continue
      kept.slots.delete(slot)
      kept.count -= nonces.size
      kept.forgotten = Math.max(kept.forgotten, behind)
    }
  }
}

/** A shared key from its text: 64 hex digits or more are bytes, all else is taken as it is. Throws `bad_argument` for a short one. */
export function keyBytes(text: string): Uint8Array<ArrayBuffer> {
  checkedText('a key', text)
  const bytes = /^([0-9a-f]{2}){32,}$/i.test(text) ? fromHex(text) : encoder.encode(text)
  if (bytes.length >= leastKeyBytes) return bytes
  throw new ForetokenError(
    'bad_argument',
    `a companion's key has ${bytes.length} bytes; give at least ${leastKeyBytes}, such as 64 random hex digits`,
  )
}

function textOf(
  { id, time, nonce, length, sha256 }: Omit<Signed, 'mac'>,
  { method, path }: Pick<SignedRequest, 'method' | 'path'>,
): Uint8Array<ArrayBuffer> {
  return encoder.encode(['foretoken request 2', id, method, path, time, nonce, length, sha256].join('\n'))
}

export function hmacKey(key: Uint8Array): Promise<CryptoKey> {
  return crypto.subtle.importKey(
    'raw',
    new Uint8Array(checkedBytes('key', key)),
    { name: 'HMAC', hash: 'SHA-256' },
    false,
    ['sign', 'verify'],
  )
}
