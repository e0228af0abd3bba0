/**
 * Converts between bytes and the letters of byte-level BPE, which writes each byte as one printable
 * letter (GPT-2's `bytes_to_unicode`): printable bytes represent themselves, and the others are
 * numbered from U+0100.
 */
const byteOf = new Map<number, number>()
const letterOf: string[] = []
for (let byte = 0, next = 0x100; byte < 256; byte++) {
  const prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
  const letter = prints ? byte : next++
  byteOf.set(letter, byte)
  letterOf.push(String.fromCharCode(letter))
}

/** The byte of each letter by its code, -1 for codes that are no letter. All are below U+0200. */
const byteOfCode = Int16Array.from({ length: 0x200 }, (_, code) => byteOf.get(code) ?? -1)

/**
 * Returns the bytes that a token's letters represent. A letter outside the alphabet represents its
 * own UTF-8.
 */
export function byteLevelBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length)
  for (let at = 0; at < token.length; at++) {
    const byte = byteOfCode[token.charCodeAt(at)] ?? -1
    if (byte < 0) return unusualBytes(token)
    bytes[at] = byte
  }
  return bytes
}

function unusualBytes(token: string): Uint8Array {
  const bytes: number[] = []
  for (const letter of token) {
    const byte = byteOf.get(letter.codePointAt(0) ?? 0)
    if (byte !== undefined) bytes.push(byte)
    else for (const utf8 of new TextEncoder().encode(letter)) bytes.push(utf8)
  }
  return Uint8Array.from(bytes)
}

/** Returns the letters of a text's UTF-8 bytes. */
export function byteLevelLetters(text: string): string {
  if (/^ ?[!-~]*$/.test(text)) return text.startsWith(' ') ? `${letterOf[0x20]}${text.slice(1)}` : text
  let letters = ''
  for (const byte of new TextEncoder().encode(text)) letters += letterOf[byte]
  return letters
}
