/**
 * Splits a text into the words that are tokenized one by one, as the `pre_tokenizer` of a
 * tokenizer.json specifies. Words are produced lazily, so that a text that is too long is not split
 * to its end. The semantics are those of Hugging Face's `tokenizers` in Rust, which the models were
 * trained with: digits, spaces and punctuation are Unicode's.
 */

import { isWhole } from '../base/numbers.ts'
import { byteLevelLetters } from './byte-level.ts'
import { behaviorOf, literal, type PreTokenizer, splitting } from './splitting.ts'

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

function patternOf({ pattern }: Spec, built: Built | null | undefined): RegExp {
  const { String: text } = (pattern ?? {}) as { String?: unknown }
  if (typeof text === 'string') return literal(text)
  if (!built?.pattern) throw new Error('a Split pre-tokenizer has neither a string nor a regex')
  return built.pattern
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
