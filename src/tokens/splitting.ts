/** Splits a text at the matches of a pattern. */

/** Splits a text; `start` is true for the very beginning of the whole text. */
export type PreTokenizer = (text: string, start: boolean) => Iterable<string>

/** What happens to the parts that match. */
type Behavior = 'Removed' | 'Isolated' | 'MergedWithPrevious' | 'MergedWithNext' | 'Contiguous'
const behaviors: readonly Behavior[] = ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous']

/** Returns the behavior of a name in any spelling, or `otherwise` for none. Throws an Error. */
export function behaviorOf(name: unknown, otherwise: Behavior): Behavior {
  const plain = String(name ?? otherwise).replaceAll('_', '')
  const found = behaviors.find((behavior) => behavior.toLowerCase() === plain.toLowerCase())
  if (!found) throw new Error(`a pre-tokenizer's behavior is ${JSON.stringify(name)}`)
  return found
}

/** Returns a pattern that matches a text as it is. */
export function literal(text: string): RegExp {
  return new RegExp(text.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&'), 'gu')
}

/** A stretch of text, and whether it matches. */
type Span = readonly [text: string, matches: boolean]

function* spans(text: string, pattern: RegExp, invert: boolean): Generator<Span> {
  let from = 0
  for (const { 0: match, index } of text.matchAll(pattern)) {
    if (match === '') continue
    if (from < index) yield [text.slice(from, index), invert]
    yield [match, !invert]
    from = index + match.length
  }
  if (from < text.length) yield [text.slice(from), invert]
}

/** Returns a pre-tokenizer that cuts at the matches of a pattern, or between them if `invert`. */
export function splitting(pattern: RegExp, behavior: Behavior, invert = false): PreTokenizer {
  return function* (text) {
    if (behavior === 'Removed') {
      for (const [piece, matches] of spans(text, pattern, invert)) if (!matches) yield piece
    } else if (behavior === 'Isolated') {
      for (const [piece] of spans(text, pattern, invert)) yield piece
    } else yield* merged(spans(text, pattern, invert), joins[behavior])
  }
}

/** Whether a span belongs to the same word as the one before it. */
const joins: Readonly<Record<string, (before: Span, span: Span) => boolean>> = {
  Contiguous: (before, span) => before[1] === span[1],
  MergedWithPrevious: (before, span) => span[1] && !before[1],
  MergedWithNext: (before, span) => before[1] && !span[1],
}

function* merged(
  pieces: Iterable<Span>,
  joined: ((before: Span, span: Span) => boolean) | undefined,
): Generator<string> {
  let word = ''
  let before: Span | undefined
  for (const span of pieces) {
    if (before && !joined?.(before, span)) {
      yield word
      word = ''
    }
    word += span[0]
    before = span
  }
  if (word !== '') yield word
}
