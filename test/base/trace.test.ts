/** Tests the times that a request reports, whatever happened to it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Trace } from '../../src/base/trace.ts'
import { AnswerState } from '../../src/engine/answer-state.ts'
import type { Engine } from '../../src/index.ts'
import { tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
beforeAll(async () => {
  engine = await tinyEngine()
})
afterAll(() => engine.close())

function traced(onPrefill?: (done: number, total: number) => void) {
  const trace = new Trace()
  const begun = performance.now()
  trace.mark('tokenized', begun)
  const answer = new AnswerState([1, 2, 3], { prompt: [1, 2, 3], ...(onPrefill && { onPrefill }) }, engine, trace)
  return { trace, answer, begun, timings: () => answer.soFar.timings }
}

describe('times', () => {
  test('are those of the plan, not of its later report', () => {
    const { answer, trace, begun, timings } = traced()
    answer.onAdmit(begun + 5)
    answer.onPrefill(0, 3, begun + 7)
    trace.mark('prefilled', begun + 20)
    expect(timings()).toMatchObject({ queue_ms: 5, cache_ms: 2, prefill_ms: 13 })
  })

  test('of a preempted prompt are those of its final admission, and none is negative', () => {
    const told: [number, number][] = []
    const { answer, trace, begun, timings } = traced((done, total) => told.push([done, total]))
    answer.onAdmit(begun + 5)
    answer.onPrefill(0, 3, begun + 7)
    answer.onPrefill(2, 3)
    answer.onAdmit(begun + 50)
    answer.onPrefill(1, 3, begun + 53)
    answer.onPrefill(3, 3)
    trace.mark('prefilled', begun + 60)
    expect(timings()).toMatchObject({ queue_ms: 50, cache_ms: 3, prefill_ms: 7 })
    // Its progress goes back, and the caller hears so; what it finds again was its own.
    expect(told).toEqual([
      [2, 3],
      [1, 3],
      [3, 3],
    ])
    expect(answer.soFar.cached_tokens).toBe(0)
  })

  test('of a real request add up to its time to the first token', async () => {
    const done = await engine.submit({ prompt: 'abc', raw: true, maxTokens: 3, ignoreEos: true }).result()
    const { template_ms, tokenize_ms, queue_ms, cache_ms, prefill_ms, sample_ms, ttft_ms } = done.timings
    for (const value of Object.values(done.timings)) expect(value).toBeGreaterThanOrEqual(0)
    const parts = template_ms + tokenize_ms + queue_ms + cache_ms + prefill_ms + sample_ms
    expect(parts).toBeCloseTo(ttft_ms, 6)
  })
})
