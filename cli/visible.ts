/**
 * Text from a model, a file or a peer on a terminal: what a terminal would act on is shown instead, as `\\u001b`, which in JSON is the same
 * text. Each character is judged by itself, so that an escape sequence is harmless however it is cut into pieces.
 */

/** C0 but tab and newline, DEL and C1; controls that turn the order of what is read; annotations that hide text. */
const acting: readonly (readonly [number, number])[] = [
  [0x00, 0x08],
  [0x0b, 0x1f],
  [0x7f, 0x9f],
  [0x202a, 0x202e],
  [0x2066, 0x2069],
  [0xfff9, 0xfffb],
]

/** What has no place in a name: ends of lines, marks of direction, and what can't be seen at all. */
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

/** A text of several lines, such as an answer or a message. Letters that need joiners or marks of direction keep them. */
export function visible(text: string): string {
  return text.replaceAll('\r\n', '\n').replace(inText, escaped)
}

/** A name, or any other text that belongs on one line. */
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
