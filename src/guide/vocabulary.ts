/** Lists a model's tokens as the grammar engine takes them. */
import { at } from '../base/at.ts'
import type { GuideModel } from '../decode/guide.ts'
import type { GuideInstance, InstanceVocabulary } from './instance.ts'

/** Gives the model's own tokens of a text. */
export type Tokenize = (text: string) => Uint32Array

/** Returns how a grammar tokenizes text that it forces. */
export function tokenizeOf(tokenizer: Pick<GuideModel['tokenizer'], 'encode'>): Tokenize {
  return (text) => Uint32Array.from(tokenizer.encode(text))
}

/** Returns the number of words of a mask, with a bit for each token. */
export function wordsOf(model: Pick<GuideModel, 'vocab' | 'eosIds'>): number {
  return Math.ceil(tokensOf(model) / 32)
}

function endsOf({ vocab, eosIds }: Pick<GuideModel, 'vocab' | 'eosIds'>): number[] {
  return eosIds.filter((id) => id < vocab)
}

/** The engine needs an end: in a model without one it is a token without a logit, never drawn. */
function tokensOf(model: Pick<GuideModel, 'vocab' | 'eosIds'>): number {
  return endsOf(model).length > 0 ? model.vocab : model.vocab + 1
}

/** The arguments of a vocabulary, made once a model; an instance that replaces another gets them, too. */
export class TokenTable {
  readonly #bytes: Uint8Array
  readonly #offsets: Uint32Array
  readonly #special: Uint8Array
  readonly #ends: Uint32Array
  readonly tokenize: Tokenize

  constructor({ vocab, tokenizer, eosIds }: GuideModel) {
    const known = Math.min(vocab, tokenizer.vocabSize)
    const ends = endsOf({ vocab, eosIds })
    const tokens = tokensOf({ vocab, eosIds })
    const texts = Array.from({ length: known }, (_, id) => tokenizer.tokenBytes(id))
    this.#offsets = new Uint32Array(tokens + 1)
    this.#special = new Uint8Array(tokens)
    let length = 0
    for (let id = 0; id < tokens; id++) {
      length += texts[id]?.length ?? 0
      this.#offsets[id + 1] = length
      if (id < known && tokenizer.isSpecial(id)) this.#special[id] = 1
    }
    this.#bytes = new Uint8Array(length)
    for (const [id, text] of texts.entries()) this.#bytes.set(text, at(this.#offsets, id))
    this.#ends = Uint32Array.from(ends.length > 0 ? ends : [vocab])
    this.tokenize = tokenizeOf(tokenizer)
  }

  /** Builds the engine's table, which takes about 3 microseconds a token. */
  build({ Vocabulary }: GuideInstance): InstanceVocabulary {
    return new Vocabulary(this.#bytes, this.#offsets, this.#special, this.#ends, this.tokenize)
  }
}
