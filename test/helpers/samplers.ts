/** Samplers in the middle of an answer. */
import type { Scores } from '../../src/backend/backend.ts'
import { createSampler, type SampledToken, type Sampler } from '../../src/decode/sampling.ts'
import type { SamplingOptions } from '../../src/decode/sampling-options.ts'

/** Returns a sampler that has accepted the tokens of `answer`. */
export function samplerAfter(
  options: SamplingOptions,
  prompt: readonly number[],
  answer: readonly number[] = [],
): Sampler {
  const sampler = createSampler(options, { prompt })
  for (const id of answer) sampler.accept(id)
  return sampler
}

/** Samples a token and accepts it. */
export function drawNext(sampler: Sampler, scores: Scores): SampledToken {
  const token = sampler.sample(scores)
  sampler.accept(token.id)
  return token
}
