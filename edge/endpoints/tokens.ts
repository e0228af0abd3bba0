/** Tokens in the form that log-probabilities have in OpenAI's API. */
import type { GenerateRequest, ScoredToken, TextService, TokenEvent } from '../../src/index.ts'

export interface ScoredText {
  readonly token: string
  readonly logprob: number
  readonly bytes: readonly number[]
}

export interface TokenLogprob extends ScoredText {
  readonly top_logprobs: readonly ScoredText[]
}

/**
 * Returns a token's text, log-probability and bytes. If it is part of a character, the text has a
 * replacement character.
 */
export function scoredText({ tokenizer }: TextService, { id, logprob }: ScoredToken): ScoredText {
  const bytes = tokenizer.tokenBytes(id)
  return {
    token: new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes),
    logprob: finite(logprob),
    bytes: [...bytes],
  }
}

/** Returns the same of a token and its likeliest alternatives. */
export function tokenLogprob(engine: TextService, token: TokenEvent): TokenLogprob {
  return {
    ...scoredText(engine, token),
    top_logprobs: (token.topLogprobs ?? []).map((other) => scoredText(engine, other)),
  }
}

/** Returns a function that tells whether an id ends an answer. Such a token has no text. */
export function endsTurn(
  { archive }: TextService,
  { ignoreEos, stopTokenIds = [] }: Pick<GenerateRequest, 'ignoreEos' | 'stopTokenIds'>,
): (id: number) => boolean {
  const ends = new Set([...(ignoreEos ? [] : archive.tokenizer.eosIds), ...stopTokenIds])
  return (id) => ends.has(id)
}

/** Returns a number that JSON can hold: OpenAI writes -9999 for minus infinity. */
function finite(logprob: number): number {
  return Math.max(-9999, logprob)
}
