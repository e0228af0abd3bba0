/** Splits texts into words by pre-tokenizers, and compares them with the reference. */
import { Tokenizer as Library } from '@huggingface/tokenizers'
import { type Built, preTokenizerOf } from '../../src/tokens/pre-tokenizer.ts'

export interface WordCases {
  readonly specs: Readonly<Record<string, Record<string, unknown>>>
  readonly cases: readonly { readonly name: string; readonly text: string; readonly words: readonly string[] }[]
}

export function wordsThatDiffer({ specs, cases }: WordCases) {
  return cases
    .map((each) => ({ ...each, ours: cut(specs[each.name]!, each.text) }))
    .filter(({ words, ours }) => JSON.stringify(ours) !== JSON.stringify(words))
}

/** Splits a text into words. */
export function cut(spec: Record<string, unknown>, text: string): string[] {
  return [...preTokenizerOf(spec, built(spec))!(text, true)]
}

/** Returns the library's patterns for a spec. */
function built(spec: Record<string, unknown>): Built {
  return new Library(
    {
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: spec,
      post_processor: null,
      decoder: null,
      model: { type: 'BPE', vocab: {}, merges: [] },
    } as never,
    {} as never,
  ).pre_tokenizer as unknown as Built
}
