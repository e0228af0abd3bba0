/**
 * Escapes text from a model, a file or a peer for a terminal: control characters are shown as
 * `\\u001b`, which JSON reads as the same text. Each character is escaped separately, so an escape
 * sequence is harmless however it is split.
 */

/**
 * C0 except tab and newline, DEL and C1; controls of text direction; annotations that hide text.
 */
const acting: readonly (readonly [number, number])[] = [
  [0x00, 0x08],
  [0x0b, 0x1f],
  [0x7f, 0x9f],
  [0x202a, 0x202e],
  [0x2066, 0x2069],
  [0xfff9, 0xfffb],
]

/** Characters that names must not contain: line ends, direction marks, and invisible characters. */
const unseen: readonly (readonly [number, number])[] = [
  [0x09, 0x0a],
  [0xad, 0xad],
  [0x61c, 0x61c],
  [0x180e, 0x180e],
  [0x200b, 0x200f],
  [0x2028, 0x2029],
  [0x2060, 0x2064],
  [0x206a, 0x206f],
  [0xfeff, 0xfeff],
  [0xe0000, 0xe007f],
]

const inText = pattern(acting)
const inNames = pattern([...acting, ...unseen])

/**
 * Escapes a text of several lines, such as an answer. Keeps joiners and marks that letters need.
 */
export function visible(text: string): string {
  return text.replaceAll('\r\n', '\n').replace(inText, escaped)
}

/** Escapes a name, or another text of one line. */
export function visibleName(text: string): string {
  return text.replace(inNames, escaped)
}

function pattern(ranges: readonly (readonly [number, number])[]): RegExp {
  const parts = ranges.map(([from, to]) => `\\u{${from.toString(16)}}-\\u{${to.toString(16)}}`)
  return new RegExp(`[${parts.join('')}]`, 'gu')
}

function escaped(character: string): string {
  return Array.from({ length: character.length }, (_, at) => {
    return `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`
  }).join('')
}
