/**
 * Splits a text into the words that are tokenized one by one, as the `pre_tokenizer` of a
 * tokenizer.json specifies. Words are produced lazily, so that a text that is too long is not split
 * to its end. The semantics are those of Hugging Face's `tokenizers` in Rust, which the models were
 * trained with: digits, spaces and punctuation are Unicode's.
 */
import { isWhole } from '../base/numbers.ts'
import { byteLevelLetters } from './byte-level.ts'

/** Splits a text; `start` is true for the very beginning of the whole text. */
export type PreTokenizer = (text: string, start: boolean) => Iterable<string>

type Spec = Readonly<Record<string, unknown>>

/** The part of the library's objects that is used: patterns translated from Oniguruma's dialect. */
export interface Built {
  readonly pattern?: RegExp | null
  readonly tokenizers?: readonly Built[]
}

/**
 * Returns the pre-tokenizer that a spec describes, or undefined for an unknown type. Throws an
 * Error for invalid settings.
 */
export function preTokenizerOf(
  spec: Spec | null | undefined,
  built: Built | null | undefined,
): PreTokenizer | undefined {
  if (!spec) return (text) => [text]
  switch (spec.type) {
    case 'Sequence':
      return sequence(spec.pretokenizers, built)
    case 'ByteLevel':
      return byteLevel(spec)
    case 'Split':
      return splitting(patternOf(spec, built), behaviorOf(spec.behavior, 'Removed'), spec.invert === true)
    case 'Digits':
      return splitting(/\p{N}/gu, spec.individual_digits === true ? 'Isolated' : 'Contiguous')
    case 'Punctuation':
      return splitting(punctuation, behaviorOf(spec.behavior, 'Isolated'))
    case 'Whitespace':
      return splitting(wordsOrSymbols, 'Removed', true)
    case 'WhitespaceSplit':
      return splitting(space, 'Removed')
    case 'BertPreTokenizer':
      return inOrder([splitting(space, 'Removed'), splitting(punctuation, 'Isolated')])
    case 'Metaspace':
      return metaspace(spec)
    case 'FixedLength':
      return fixedLength(spec.length)
    default:
      return undefined
  }
}

const space = /\p{White_Space}/gu
const punctuation = /[\p{P}!-/:-@[-`{-~]/gu
const wordCharacter = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}'
const wordsOrSymbols = new RegExp(`[${wordCharacter}]+|[^${wordCharacter}\\p{White_Space}]+`, 'gu')
/**
 * The pattern of GPT-2. JavaScript's \s includes U+FEFF, which is not white space in Unicode, and
 * lacks U+0085.
 */
const gpt2 =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu

/** What happens to the parts that match. */
type Behavior = 'Removed' | 'Isolated' | 'MergedWithPrevious' | 'MergedWithNext' | 'Contiguous'
const behaviors: readonly Behavior[] = ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous']

function behaviorOf(name: unknown, otherwise: Behavior): Behavior {
  const plain = String(name ?? otherwise).replaceAll('_', '')
  const found = behaviors.find((behavior) => behavior.toLowerCase() === plain.toLowerCase())
  if (!found) throw new Error(`a pre-tokenizer's behavior is ${JSON.stringify(name)}`)
  return found
}

function patternOf({ pattern }: Spec, built: Built | null | undefined): RegExp {
  const { String: text } = (pattern ?? {}) as { String?: unknown }
  if (typeof text === 'string') return literal(text)
  if (!built?.pattern) throw new Error('a Split pre-tokenizer has neither a string nor a regex')
  return built.pattern
}

function literal(text: string): RegExp {
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

function splitting(pattern: RegExp, behavior: Behavior, invert = false): PreTokenizer {
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

function sequence(specs: unknown, built: Built | null | undefined): PreTokenizer | undefined {
  if (!Array.isArray(specs)) return undefined
  const steps = specs.map((spec, at) => preTokenizerOf(spec, built?.tokenizers?.[at]))
  return steps.every((step) => step !== undefined) ? inOrder(steps) : undefined
}

function inOrder(steps: readonly PreTokenizer[]): PreTokenizer {
  const [first, ...rest] = steps
  if (!first) return (text) => [text]
  if (rest.length === 0) return first
  const then = inOrder(rest)
  return function* (text, start) {
    let begins = start
    for (const word of first(text, begins)) {
      yield* then(word, begins)
      begins = false
    }
  }
}

function byteLevel({ add_prefix_space: prefix = false, use_regex: regex = true }: Spec): PreTokenizer {
  return function* (text) {
    const whole = prefix === true && !text.startsWith(' ') ? ` ${text}` : text
    if (regex === false) yield byteLevelLetters(whole)
    else for (const [word] of whole.matchAll(gpt2)) yield byteLevelLetters(word)
  }
}

function metaspace(spec: Spec): PreTokenizer {
  const mark = typeof spec.replacement === 'string' ? spec.replacement : '▁'
  const scheme = spec.prepend_scheme ?? (spec.add_prefix_space === false ? 'never' : 'always')
  const marks = literal(mark)
  const cut = splitting(marks, 'MergedWithNext')
  return (text, start) => {
    const replaced = text.replaceAll(' ', mark)
    const prepends = scheme === 'always' || (scheme === 'first' && start)
    const whole = prepends && !replaced.startsWith(mark) ? mark + replaced : replaced
    return spec.split === false ? [whole] : cut(whole, start)
  }
}

function fixedLength(length: unknown): PreTokenizer | undefined {
  if (!isWhole(length, 1, Number.POSITIVE_INFINITY)) return undefined
  return function* (text) {
    let word = ''
    let count = 0
    for (const character of text) {
      word += character
      if (++count < (length as number)) continue
      yield word
      word = ''
      count = 0
    }
    if (word !== '') yield word
  }
}
