/** Tests which predictor comes with a model: a small one for isolates, and a large one for hosts. */

import { describe, expect, test } from 'vitest'
import { predictorPath, shippedPredictor } from '../../node/index.ts'
import { readPredictorHeader } from '../../src/index.ts'

describe('the predictors of smollm2-135m', () => {
  test('are two for the same weights, of which the small one is the default', async () => {
    const [small, large] = await Promise.all(
      (['small', 'large'] as const).map(async (size) => (await shippedPredictor('smollm2-135m', size))!),
    )
    expect((await shippedPredictor('smollm2-135m'))!.size).toBe(small!.size)
    expect(large!.size).toBeGreaterThan(small!.size)
    expect(large!.size).toBeLessThan(12e6)
    const [first, second] = await Promise.all([readPredictorHeader(small!), readPredictorHeader(large!)])
    expect(second.base).toBe(first.base)
    expect(second.plan).not.toEqual(first.plan)
  })

  test('are found by a name in capitals, too', () => {
    expect(predictorPath('SmolLM2-135M', 'large')).toBe(predictorPath('smollm2-135m', 'large'))
  })
})

test('a model without a predictor has none of either size, and no name leaves the folder', () => {
  for (const name of ['nosuch', '../predictors/smollm2-135m', 'smollm2-135m/..', ''])
    for (const size of ['small', 'large'] as const) expect(predictorPath(name, size)).toBeUndefined()
})
