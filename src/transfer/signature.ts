/**
 * Signs and checks requests between an edge and its companion, version 2.
 *
 *     authorization: Foretoken v=2, id=ID, time=MS, nonce=HEX, length=BYTES, sha256=HEX, mac=HEX
 *
 * `length` and `sha256` describe the body. `mac` is HMAC-SHA-256 with the pair's key over eight
 * lines: `foretoken request 2`, the id, the method, the path with its query, the time in
 * milliseconds since 1970, the nonce (16 random bytes in hex), the length and the hash. So the head
 * alone says who asks and how much follows, and a companion reads no byte of a body before it has
 * checked the head. It accepts a nonce once, and only while the time is close to its own, so a
 * recorded request is worthless. The nonce also binds the answer: a stream of K and V is sealed
 * with it.
 *
 * Version 1 hashed the body into the MAC, so the body had to be read first. It is refused.
 */
import { bytesOf as checkedBytes, textOf as checkedText, withArguments } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import { fromHex, sha256Hex, toHex } from '../base/hash.ts'

export const signatureVersion = 2

/** The fields of a signed request's head. */
export interface Signed {
  /** The name of the key. */
  readonly id: string
  /** Milliseconds since 1970. */
  readonly time: number
  readonly nonce: string
  /** Length of the body, in bytes. */
  readonly length: number
  /** SHA-256 of the body, in hex. */
  readonly sha256: string
  readonly mac: string
}

export interface SignedRequest {
  readonly method: string
  /** The path with its query. */
  readonly path: string
  readonly body: Uint8Array<ArrayBuffer>
}

export const leastKeyBytes = 16
const encoder = new TextEncoder()

/** Returns the value of `authorization`, and the nonce in it. */
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

/** Parses an `authorization`. Returns undefined for any other kind or version. */
export function parseSigned(authorization: string | null | undefined): Signed | undefined {
  const found = typeof authorization === 'string' ? pattern.exec(authorization) : undefined
  if (!found) return undefined
  const [, id = '', time, nonce = '', length, sha256 = '', mac = ''] = found
  return { id, time: Number(time), nonce, length: Number(length), sha256, mac }
}

/** Returns the version of a `Foretoken` authorization; undefined for any other text. */
export function signedVersion(authorization: string | null | undefined): number | undefined {
  const found = typeof authorization === 'string' ? /^Foretoken (?:v=(\d{1,3}), )?id=/.exec(authorization) : undefined
  return found ? Number(found[1] ?? 1) : undefined
}

/**
 * Returns true if the MAC fits this head and key and, when `body` is given, if that is the body
 * that was signed. Compares in constant time.
 */
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

/** Returns true if `body` is the one that was signed. Compares in constant time. */
export function isBodyOf(signed: Signed, body: Uint8Array<ArrayBuffer>): Promise<boolean> {
  return withArguments('isBodyOf', async () => {
    const { length, sha256 } = signed
    const found = await sha256Hex(checkedBytes('body', body))
    let difference = length ^ body.length
    for (let at = 0; at < found.length; at++) difference |= found.charCodeAt(at) ^ sha256.charCodeAt(at)
    return difference === 0
  })
}

/**
 * Reads a shared key: 64 or more hex digits are bytes, any other text stands for its own UTF-8.
 * Throws `bad_argument` for a short key.
 */
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
