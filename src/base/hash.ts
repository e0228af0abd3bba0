import { defined } from './at.ts'
import { ForetokenError } from './errors.ts'

/** Returns the SHA-256 of bytes, (32). */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
}

/** Returns the SHA-256 of bytes as 64 lower-case hex digits. */
export async function sha256Hex(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return toHex(await sha256(bytes))
}

/** Returns bytes as lower-case hex digits, two for each. */
export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/**
 * Returns the bytes that hex digits of either case stand for. Throws `internal` for other texts
 * and, given `length`, for other lengths in bytes.
 */
export function fromHex(digits: string, length = digits.length / 2): Uint8Array<ArrayBuffer> {
  if (digits.length !== 2 * length || !/^([0-9a-f]{2})*$/i.test(digits))
    throw new ForetokenError('internal', `"${digits.slice(0, 80)}" is not ${length} bytes in hex`)
  return Uint8Array.from({ length }, (_, index) => Number.parseInt(digits.slice(2 * index, 2 * index + 2), 16))
}

/** Returns true if both hold the same bytes. The time it takes depends on their lengths only. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length
  for (let index = 0; index < Math.min(a.length, b.length); index++) difference |= defined(a[index]) ^ defined(b[index])
  return difference === 0
}
