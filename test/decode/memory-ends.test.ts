/**
 * If memory ends before the requested pages, requests wait and are answered as if fewer had been
 * requested.
 */

import { expect, test } from 'vitest'
import { Scheduler } from '../../src/decode/scheduler.ts'
import type { Job } from '../../src/decode/task.ts'
import { type ForetokenError, pageTokens } from '../../src/index.ts'
import { PagedCache } from '../../src/kv/paged.ts'
import { PrefixIndex } from '../../src/kv/prefix.ts'
import { answerAlone, FakeModel, limitedPool } from '../helpers/fake-model.ts'
import fc from '../helpers/properties.ts'
import { seed } from '../helpers/seed.ts'

const most = 24

test(`every request gets the right answer, whatever the memory limit (seed ${seed})`, async () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 24 })
  await fc.assert(
    fc.asyncProperty(lengths, fc.integer({ min: 8, max: 40 }), async (all, held) => {
      const pool = limitedPool(held)
      // Ten times as many pages are requested as there are.
      const cache = new PagedCache(pool, 400, 8 * pageTokens)
      const prefixes = new PrefixIndex(cache, 200 * pool.pageBytes)
      const schedule = { order: 'pack', chunk: 32, fullRows: 32, stallMs: 100, refineMs: 30, aging: 0.25 } as const
      const scheduler = new Scheduler(new FakeModel(32), cache, prefixes, {
        ...schedule,
        maxRunning: 64,
        maxWaiting: 64,
      })
      const errors: ForetokenError[] = []
      const answers = all.map((length, index) => {
        const ids = Array.from({ length }, (_, i) => 1 + ((i * 7 + index * 13) % 60))
        const answer: number[] = []
        const job: Job & { ended: boolean } = {
          ids,
          tenant: '',
          ended: false,
          chooseTokens(scores) {
            const id = (scores as Float32Array).indexOf(1)
            answer.push(id)
            return id === 0 || answer.length === most ? undefined : [id]
          },
          end(error) {
            this.ended = true
            if (error) errors.push(error)
          },
        }
        scheduler.add(job)
        return { ids, answer, job }
      })
      await scheduler.drive(() => answers.every(({ job }) => job.ended))
      expect(errors).toEqual([])
      for (const { ids, answer } of answers) expect(answer).toEqual(answerAlone(ids, most))
      expect(cache.pagesInUse).toBe(scheduler.stats.prefix_pages)
      expect(pool.pages).toBeLessThanOrEqual(held)
    }),
    { seed, numRuns: 60 },
  )
})
