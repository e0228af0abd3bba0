/**
 * Fill-in-the-middle prompts: the text before the gap and the text after it, in the order that code
 * models are trained on.
 */
import type { AnyEngine } from '../src/index.ts'
import { ApiError } from './errors.ts'

/**
 * Special tokens before the prefix, before the suffix and before the answer: the families that
 * llama.cpp knows.
 */
const families = [
  ['<|fim_prefix|>', '<|fim_suffix|>', '<|fim_middle|>'],
  ['<fim_prefix>', '<fim_suffix>', '<fim_middle>'],
  ['<fim-prefix>', '<fim-suffix>', '<fim-middle>'],
  ['<｜fim▁begin｜>', '<｜fim▁hole｜>', '<｜fim▁end｜>'],
  ['▁<PRE>', '▁<SUF>', '▁<MID>'],
  ['<PRE>', '<SUF>', '<MID>'],
] as const

/**
 * Returns the special tokens of a model that fills gaps; undefined if its vocabulary lacks them.
 * Tokens that the model's file names take precedence over the known families.
 */
export function fillTokens({
  tokenizer,
  archive,
}: Pick<AnyEngine, 'tokenizer' | 'archive'>): readonly string[] | undefined {
  const { fim_tokens } = archive.tokenizer.config
  const named = Array.isArray(fim_tokens) && fim_tokens.length === 3 ? [fim_tokens as string[]] : []
  return [...named, ...families].find((tokens) => tokens.every((token) => tokenizer.idOf(token) !== undefined))
}

/**
 * Returns the raw text of a prompt with a gap. Throws an ApiError of 400 if the vocabulary lacks
 * the special tokens.
 */
export function fillInTheMiddle(
  prompt: string,
  suffix: string,
  engine: Pick<AnyEngine, 'tokenizer' | 'archive'>,
): string {
  const family = fillTokens(engine)
  if (family) {
    const [before = '', after = '', answer = ''] = family
    return before + prompt + after + suffix + answer
  }
  throw new ApiError(
    400,
    'suffix needs a fill-in-the-middle model, but the vocabulary of this one lacks the special tokens; leave it out',
    { code: 'unsupported_value', param: 'suffix' },
  )
}
