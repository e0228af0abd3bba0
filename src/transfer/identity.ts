/**
 * Hashes everything but the tokens that a model's K and V depend on. Machines that exchange them
 * must agree on all of it.
 */

import { sha256Hex } from '../base/hash.ts'
import type { ModelArchive, ModelSpec } from '../base/model.ts'
import { specOf } from '../model/families/index.ts'
import { vocabularyOf } from '../model/tokenizer-json.ts'
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
  return {
    name,
    model: identity,
    tokenizer: await hashOf(inOrder(vocabularyOf(tokenizer) ?? null)),
    rope: await hashOf(positionsOf(specOf(config), balance)),
    ...(predictor !== undefined && { predictor }),
  }
}

/**
 * Returns what K and V depend on beside weights and tokens: how layers rotate keys, which keys
 * their queries see, and how pages hold K. Layers that are alike and see all keys give one
 * rotation, in the form of the wire's first version.
 */
function positionsOf({ headDim, layers }: ModelSpec, balance: string | undefined): unknown {
  const [first] = layers
  const isPlain = layers.every(({ rope, attention }) => {
    const { scale, window, softCap } = attention
    const same = rope && rope === first?.rope && !rope.long && rope.turned === undefined && rope.amplitude === undefined
    return same && scale === 1 / Math.sqrt(headDim) && window === undefined && softCap === undefined
  })
  const held = balance === undefined ? {} : { balance }
  if (!isPlain || !first?.rope) return { layers: layers.map(({ rope, attention }) => ({ rope, attention })), ...held }
  const { theta, pairs, divisors = [] } = first.rope
  return { headDim, ropeTheta: theta, ropePairs: pairs, ropeDivisors: divisors, ...held }
}

/** Sorts a vocabulary by id, since files list it in any order. A list is sorted already. */
function inOrder(vocabulary: unknown): unknown {
  if (typeof vocabulary !== 'object' || vocabulary === null || Array.isArray(vocabulary)) return vocabulary
  return Object.entries(vocabulary).sort(([, a], [, b]) => (a as number) - (b as number))
}

function hashOf(value: unknown): Promise<string> {
  return sha256Hex(new TextEncoder().encode(JSON.stringify(value)))
}
