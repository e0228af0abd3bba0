/** What a model's K and V depend on beside the tokens, as hashes: who trades them must have the same. */

import { sha256Hex } from '../base/hash.ts'
import type { ModelArchive } from '../base/model.ts'
import { vocabularyOf } from '../model/vocabulary.ts'
import type { KvIdentity } from './format.ts'

/**
 * `identity` tells the weights, see `WeightIdentity`; `balance` how pages hold K, see `balanceHash`; `predictor` is the SHA-256 of an
 * engine's predictor.
 */
export async function kvIdentityOf(
  { name, config, tokenizer }: ModelArchive,
  { identity, balance, predictor }: { identity: string; balance: string | undefined; predictor: string | undefined },
): Promise<KvIdentity> {
  const { headDim, ropeTheta, ropePairs, ropeDivisors = [] } = config
  return {
    name,
    model: identity,
    tokenizer: await hashOf(inOrder(vocabularyOf(tokenizer) ?? null)),
    rope: await hashOf({ headDim, ropeTheta, ropePairs, ropeDivisors, ...(balance !== undefined && { balance }) }),
    ...(predictor !== undefined && { predictor }),
  }
}

/** A vocabulary by ids, whatever order its file has; a list is in that order already. */
function inOrder(vocabulary: unknown): unknown {
  if (typeof vocabulary !== 'object' || vocabulary === null || Array.isArray(vocabulary)) return vocabulary
  return Object.entries(vocabulary).sort(([, a], [, b]) => (a as number) - (b as number))
}

function hashOf(value: unknown): Promise<string> {
  return sha256Hex(new TextEncoder().encode(JSON.stringify(value)))
}
