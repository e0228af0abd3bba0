import { sha256 } from '../base/hash.ts'

/** Returns the SHA-256 of ids 0..to - 1, as little-endian u32. */
export async function hashOfIds(ids: readonly number[], to: number): Promise<Uint8Array> {
  const view = new DataView(new ArrayBuffer(4 * to))
  for (let at = 0; at < to; at++) view.setUint32(4 * at, ids[at]!, true)
  return sha256(new Uint8Array(view.buffer))
}
