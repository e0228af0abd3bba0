/**
 * Byte-level BPE writes each byte as one printable letter (GPT-2's `bytes_to_unicode`): bytes that print stand for
 * themselves, the others are counted up from U+0100.
 */
const byteOf = new Map<number, number>()
for (let byte = 0, next = 0x100; byte < 256; byte++) {
  const prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
  byteOf.set(prints ? byte : next++, byte)
}

/** The bytes that a token's letters stand for; a letter outside the alphabet stands for its own UTF-8. */
export function byteLevelBytes(token: string): Uint8Array {
  const bytes: number[] = []
  for (const letter of token) {
    const byte = byteOf.get(letter.codePointAt(0)!)
    if (byte !== undefined) bytes.push(byte)
    else bytes.push(...new TextEncoder().encode(letter))
  }
  return Uint8Array.from(bytes)
}
