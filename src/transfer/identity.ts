/**
 * Hashes everything but the tokens that a model's K and V depend on. Machines that exchange them
 * must agree on all of it.
 */

import { sha256Hex } from '../base/hash.ts'
import type { ModelArchive } from '../base/model.ts'
import { vocabularyOf } from '../model/vocabulary.ts'
import type { KvIdentity } from './format.ts'

/**
 * Returns the identity of an engine's K and V. `identity` is the hash of the weights
 * (`WeightIdentity`), `balance` says how pages hold K (`balanceHash`), and `predictor` is the
 * SHA-256 of the engine's predictor.
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

/** Sorts a vocabulary by id, since files list it in any order. A list is sorted already. */
function inOrder(vocabulary: unknown): unknown {
  if (typeof vocabulary !== 'object' || vocabulary === null || Array.isArray(vocabulary)) return vocabulary
  return Object.entries(vocabulary).sort(([, a], [, b]) => (a as number) - (b as number))
}

function hashOf(value: unknown): Promise<string> {
  return sha256Hex(new TextEncoder().encode(JSON.stringify(value)))
}
