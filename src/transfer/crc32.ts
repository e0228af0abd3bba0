/** CRC-32 (ISO-HDLC, as in zip and PNG): eight bytes a step, by eight tables (M. E. Kounavis and F. L. Berry, 2005). */

let tables: Uint32Array | undefined

/** Of `bytes`, going on from the CRC of what came before them. */
export function crc32(bytes: Uint8Array, before = 0): number {
  tables ??= makeTables()
  const table = tables
  let crc = ~before
  let at = 0
  for (const whole = bytes.length - 7; at < whole; at += 8) {
    const low = crc ^ (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24))
    crc =
      table[0x700 | (low & 255)]! ^
      table[0x600 | ((low >>> 8) & 255)]! ^
      table[0x500 | ((low >>> 16) & 255)]! ^
      table[0x400 | (low >>> 24)]! ^
      table[0x300 | bytes[at + 4]!]! ^
      table[0x200 | bytes[at + 5]!]! ^
      table[0x100 | bytes[at + 6]!]! ^
      table[bytes[at + 7]!]!
  }
  for (; at < bytes.length; at++) crc = table[(crc ^ bytes[at]!) & 255]! ^ (crc >>> 8)
  return ~crc >>> 0
}

/** Table t, (256): the CRC of a byte and t zero bytes behind it. */
function makeTables(): Uint32Array {
  const all = new Uint32Array(8 * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
    all[byte] = crc
  }
  for (let at = 256; at < all.length; at++) all[at] = all[all[at - 256]! & 255]! ^ (all[at - 256]! >>> 8)
  return all
}
