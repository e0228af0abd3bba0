/** Tokens as log-probabilities tell them. */
import type { AnyEngine, GenerateRequest, ScoredToken, TokenEvent } from '../../src/index.ts'

export interface ScoredText {
  readonly token: string
  readonly logprob: number
  readonly bytes: readonly number[]
}

export interface TokenLogprob extends ScoredText {
  readonly top_logprobs: readonly ScoredText[]
}

/** A token's text may be part of a character: then it is told in bytes, and the text has a replacement. */
export function scoredText({ tokenizer }: AnyEngine, { id, logprob }: ScoredToken): ScoredText {
  const bytes = tokenizer.tokenBytes(id)
  return {
    token: new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes),
    logprob: finite(logprob),
    bytes: [...bytes],
  }
}

export function tokenLogprob(engine: AnyEngine, token: TokenEvent): TokenLogprob {
  return {
    ...scoredText(engine, token),
    top_logprobs: (token.topLogprobs ?? []).map((other) => scoredText(engine, other)),
  }
}

/** Whether a token ends an answer: such have no text. */
export function endsTurn(
  { archive }: AnyEngine,
  { ignoreEos, stopTokenIds = [] }: Pick<GenerateRequest, 'ignoreEos' | 'stopTokenIds'>,
): (id: number) => boolean {
  const ends = new Set([...(ignoreEos ? [] : archive.tokenizer.eosIds), ...stopTokenIds])
  return (id) => ends.has(id)
}

/** JSON has no infinity; OpenAI writes -9999. */
function finite(logprob: number): number {
  return Math.max(-9999, logprob)
}
