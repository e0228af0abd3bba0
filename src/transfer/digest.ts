/** Hashes and hex digits of the things that a stream is bound to. */
import { ForetokenError } from '../base/errors.ts'

/** Returns the SHA-256 of ids 0..to - 1, each as a little-endian u32. */
export async function hashOfIds(ids: readonly number[], to: number): Promise<Uint8Array> {
  const view = new DataView(new ArrayBuffer(4 * to))
  for (const [index, id] of ids.slice(0, to).entries()) view.setUint32(4 * index, id, true)
  return sha256(new Uint8Array(view.buffer))
}

export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
}

export function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/**
 * Returns the 32 bytes of a SHA-256. Throws `internal` if `hex` is not 64 lower-case hex digits.
 */
export function fromHex(hex: string): Uint8Array {
  if (!/^[0-9a-f]{64}$/.test(hex)) throw new ForetokenError('internal', `"${hex.slice(0, 80)}" is not a SHA-256 in hex`)
  return Uint8Array.from({ length: 32 }, (_, at) => Number.parseInt(hex.slice(2 * at, 2 * at + 2), 16))
}
