/** Filling in the middle: a prompt before the gap and a suffix behind it, in the order that code models were taught. */
import type { AnyEngine } from '../src/index.ts'
import { ApiError } from './errors.ts'

/** Special tokens for the text before the gap, behind it, and for the answer. The same families that llama.cpp knows. */
const families = [
  ['<|fim_prefix|>', '<|fim_suffix|>', '<|fim_middle|>'],
  ['<fim_prefix>', '<fim_suffix>', '<fim_middle>'],
  ['<fim-prefix>', '<fim-suffix>', '<fim-middle>'],
  ['<｜fim▁begin｜>', '<｜fim▁hole｜>', '<｜fim▁end｜>'],
  ['▁<PRE>', '▁<SUF>', '▁<MID>'],
  ['<PRE>', '<SUF>', '<MID>'],
] as const

/** The raw text of a prompt with a gap. Throws an ApiError of 400 where the vocabulary has no tokens for that. */
export function filled(
  prompt: string,
  suffix: string,
  { tokenizer, archive }: Pick<AnyEngine, 'tokenizer' | 'archive'>,
): string {
  // Those that a file names go before those that are known by their names.
  const { fim_tokens } = archive.tokenizer.config
  const named = Array.isArray(fim_tokens) && fim_tokens.length === 3 ? [fim_tokens as string[]] : []
  const family = [...named, ...families].find((tokens) => tokens.every((token) => tokenizer.idOf(token) !== undefined))
  if (family) return family[0]! + prompt + family[1]! + suffix + family[2]!
  throw new ApiError(
    400,
    'suffix needs a model that fills in the middle, and the vocabulary of this one has no tokens for that; leave it out',
    { code: 'unsupported_value', param: 'suffix' },
  )
}
