/** Tests the reference time of an answer, and the warm-up. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Engine, type GenerateRequest, pageTokens } from '../../src/index.ts'
import { exactTtft, warmUp } from '../../web/timing.ts'
import { tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
beforeAll(async () => {
  engine = await tinyEngine()
})
afterAll(() => engine.close())

const messages = [{ role: 'user' as const, content: 'A question that is long enough to have some pages of its own.' }]
const never = new AbortController().signal

test('the exact mode is timed with the same part of the prompt cached, and again for each run', async () => {
  const length = engine.promptIds(messages).length
  expect(length).toBeGreaterThan(2 * pageTokens)
  for (const cached of [0, pageTokens, 2 * pageTokens]) {
    const submissions: ReturnType<Engine['submit']>[] = []
    const submit = (request: GenerateRequest) => {
      const one = engine.submit(request)
      submissions.push(one)
      return one
    }
    const promptIds = engine.promptIds.bind(engine)
    expect(await exactTtft({ promptIds, submit }, messages, cached, never)).toBeGreaterThan(0)
    const { cached_tokens, prefill } = submissions.at(-1)!.soFar
    expect({ cached_tokens, prefill }).toEqual({ cached_tokens: cached, prefill: 'exact' })
  }
})

test('a warm-up leaves nothing running, finished or stopped', async () => {
  await warmUp(engine, never)
  const stop = new AbortController()
  const warming = warmUp(engine, stop.signal)
  stop.abort()
  await expect(warming).rejects.toMatchObject({ code: 'aborted' })
  expect(engine.stats).toMatchObject({ running: 0, waiting: 0 })
  expect(engine.stats.pages_in_use).toBe(engine.stats.prefix_pages)
})
