/** Builds and checks requests to a companion. */
import { ForetokenError } from '../base/errors.ts'
import type { WireCodec } from '../base/kv-codec.ts'
import type { Engine } from '../engine/engine.ts'
import type { RelayedToken } from '../transfer/remote.ts'
import type { TokenRequest } from './request.ts'

/** Returns the size of one token's K and V on the wire, in bytes. */
export function bytesPerToken({ pageBytes }: Engine, codec: WireCodec): number {
  const shrink = { f32: 1, f16: 1, int8: 1, int4: 0.6, residual: 0.3 }[codec]
  return (pageBytes / 16) * shrink
}

/** Returns those options of a request that sampling needs. */
export function optionsOf(request: TokenRequest): Record<string, unknown> {
  const { temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty } = request
  const { topLogprobs, ignoreEos, stop, stopTokenIds, minTokens, logitBias } = request
  // JSON has no integers beyond 53 bits.
  const seed = typeof request.seed === 'bigint' ? String(request.seed) : request.seed
  const sampling = { temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty, seed }
  const all = { ...sampling, topLogprobs, ignoreEos, stop, stopTokenIds, minTokens, logitBias }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}

/**
 * Throws `remote` for a token that this engine could not have made, and for missing or surplus
 * log-probabilities.
 */
export function checkRelayed({ id, topLogprobs = [] }: RelayedToken, engine: Engine, most: number): void {
  const { vocab } = engine.archive.config
  const unknown = [id, ...topLogprobs.map((one) => one.id)].find((one) => !(one < vocab && isToken(engine, one)))
  if (unknown !== undefined)
    throw new ForetokenError('remote', `the companion sent token ${unknown}, which is not in the vocabulary`)
  if (topLogprobs.length > most || (most > 0 && topLogprobs.length === 0))
    throw new ForetokenError(
      'remote',
      `the companion sent ${topLogprobs.length} log-probabilities, and ${most} were asked for`,
    )
}

/** Returns true if an id has a token. Some models have more rows of logits than tokens. */
function isToken(engine: Engine, id: number): boolean {
  try {
    engine.tokenizer.tokenBytes(id)
    return true
  } catch {
    return false
  }
}
