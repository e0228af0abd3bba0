import { sha256 } from '../base/hash.ts'

/** Returns the SHA-256 of ids 0..to - 1, each as a little-endian u32. */
export async function hashOfIds(ids: readonly number[], to: number): Promise<Uint8Array> {
  const view = new DataView(new ArrayBuffer(4 * to))
  for (const [index, id] of ids.slice(0, to).entries()) view.setUint32(4 * index, id, true)
  return sha256(new Uint8Array(view.buffer))
}
