/** What a model's K and V depend on beside the tokens, as hashes: who trades them must have the same. */

import { sha256Hex } from '../base/hash.ts'
import type { ModelArchive, ModelSpec } from '../base/model.ts'
import { specOf } from '../model/families/index.ts'
import { vocabularyOf } from '../model/vocabulary.ts'
import type { KvIdentity } from './format.ts'

/** `identity` tells the weights, see `WeightIdentity`; `predictor` is the SHA-256 of an engine's predictor. */
export async function kvIdentityOf(
  { name, config, tokenizer }: ModelArchive,
  identity: string,
  predictor: string | undefined,
): Promise<KvIdentity> {
  return {
    name,
    model: identity,
    tokenizer: await hashOf(inOrder(vocabularyOf(tokenizer) ?? null)),
    rope: await hashOf(positionsOf(specOf(config))),
    ...(predictor !== undefined && { predictor }),
  }
}

/**
 * What K and V depend on beside weights and tokens: how layers rotate keys and which keys their queries see. Layers that are alike
 * and see all keys are one rotation, in the form that the first version of the wire had.
 */
function positionsOf({ headDim, layers }: ModelSpec): unknown {
  const [first] = layers
  const isPlain = layers.every(({ rope, attention }) => {
    const { scale, window, softCap } = attention
    return (
      rope && rope === first?.rope && scale === 1 / Math.sqrt(headDim) && window === undefined && softCap === undefined
    )
  })
  if (!isPlain || !first?.rope) return layers.map(({ rope, attention }) => ({ rope, attention }))
  const { theta, pairs, divisors = [] } = first.rope
  return { headDim, ropeTheta: theta, ropePairs: pairs, ropeDivisors: divisors }
}

/** A vocabulary by ids, whatever order its file has; a list is in that order already. */
function inOrder(vocabulary: unknown): unknown {
  if (typeof vocabulary !== 'object' || vocabulary === null || Array.isArray(vocabulary)) return vocabulary
  return Object.entries(vocabulary).sort(([, a], [, b]) => (a as number) - (b as number))
}

function hashOf(value: unknown): Promise<string> {
  return sha256Hex(new TextEncoder().encode(JSON.stringify(value)))
}
