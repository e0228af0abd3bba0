/**
 * Computes CRC-32 (ISO-HDLC, as in zip and PNG), eight bytes a step with eight tables (M. E.
 * Kounavis and F. L. Berry, 2005).
 */
import { defined } from '../base/at.ts'

let tables: Uint32Array | undefined

/** Returns the CRC of `bytes`, continuing from `before`, the CRC of the bytes before them. */
export function crc32(bytes: Uint8Array, before = 0): number {
  tables ??= makeTables()
  const table = tables
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let crc = ~before
  let at = 0
  for (const whole = bytes.length - 7; at < whole; at += 8) {
    const low = crc ^ view.getUint32(at, true)
    const high = view.getUint32(at + 4, true)
    crc =
      defined(table[0x700 | (low & 255)]) ^
      defined(table[0x600 | ((low >>> 8) & 255)]) ^
      defined(table[0x500 | ((low >>> 16) & 255)]) ^
      defined(table[0x400 | (low >>> 24)]) ^
      defined(table[0x300 | (high & 255)]) ^
      defined(table[0x200 | ((high >>> 8) & 255)]) ^
      defined(table[0x100 | ((high >>> 16) & 255)]) ^
      defined(table[high >>> 24])
  }
  for (; at < bytes.length; at++) crc = defined(table[(crc ^ view.getUint8(at)) & 255]) ^ (crc >>> 8)
  return ~crc >>> 0
}

/**
 * Builds eight tables of 256: entry `byte` of table t is the CRC of that byte followed by t zero
 * bytes.
 */
function makeTables(): Uint32Array {
  const all = new Uint32Array(8 * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
    all[byte] = crc
  }
  for (let at = 256; at < all.length; at++) {
    const before = defined(all[at - 256])
    all[at] = defined(all[before & 255]) ^ (before >>> 8)
  }
  return all
}
