/** Tests the experiment of `npm run check:words` on servers with known times. */
import { describe, expect, test } from 'vitest'
import { random } from '../helpers/random.ts'
import { seed } from '../helpers/seed.ts'
import { areaUnderCurve, wordTiming } from '../suites/word-timing.ts'

describe('the experiment', () => {
  test('detects a word cache that tenants share', async () => {
    const cache = new Set<string>()
    const { auc } = await wordTiming(
      async (_, text) => {
        const known = cache.has(text)
        cache.add(text)
        return known ? 1 : 2
      },
      50,
      random(seed).unit,
    )
    expect(auc).toBe(1)
  })

  test('detects nothing where each tenant has its own cache, or where there is none', async () => {
    const cache = new Set<string>()
    const own = await wordTiming(
      async (tenant, text) => {
        const known = cache.has(tenant + text)
        cache.add(tenant + text)
        return known ? 1 : 2
      },
      50,
      random(seed).unit,
    )
    expect(own.auc).toBe(0.5)
  })

  test('counts how often one time exceeds another', () => {
    expect(areaUnderCurve([3, 2], [1, 2])).toBe(0.875)
  })
})
