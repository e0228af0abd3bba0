/**
 * Tests whether two sets of times differ, against values that others computed (scipy.stats 1.16,
 * R's p.adjust).
 */

import { describe, expect, test } from 'vitest'
import { lastLike, movedSince, type TtftRecord } from '../../bench/ttft/regression.ts'
import { compare, holm, mannWhitney } from '../../bench/ttft/significance.ts'
import fc from '../helpers/properties.ts'
import { random } from '../helpers/random.ts'

describe('Mann and Whitney', () => {
  test.each([
    [[1, 2, 3], [4, 5, 6], 0.1],
    [[19, 22, 16, 29, 24], [20, 11, 17, 12], 0.1111111],
    [[1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14], 0.0005827],
    [[5], [6], 1],
  ])('%j and %j', (a, b, p) => {
    expect(mannWhitney(a, b)).toBeCloseTo(p, 5)
  })

  test('equal values are not significant', () => {
    expect(mannWhitney([3, 3, 3, 3], [3, 3, 3, 3])).toBe(1)
  })

  test('is symmetric, and within 0 and 1', () => {
    const times = fc.array(fc.double({ min: 0.1, max: 100, noNaN: true }), { minLength: 1, maxLength: 24 })
    fc.assert(
      fc.property(times, times, (a, b) => {
        const p = mannWhitney(a, b)
        expect(p).toBeGreaterThanOrEqual(0)
        expect(p).toBeLessThanOrEqual(1)
        expect(mannWhitney(b, a)).toBeCloseTo(p, 9)
      }),
    )
  })

  test('for sets that do not differ is below 0.05 about once in twenty', () => {
    const rng = random(5)
    const draw = () => Array.from({ length: 9 }, () => 100 + 5 * rng.normal())
    let below = 0
    for (let at = 0; at < 2000; at++) if (mannWhitney(draw(), draw()) < 0.05) below++
    expect(below / 2000).toBeGreaterThan(0.02)
    expect(below / 2000).toBeLessThan(0.07)
  })
})

test('Holm', () => {
  expect(holm([0.01, 0.04, 0.03]).map((p) => Number(p.toFixed(6)))).toEqual([0.03, 0.06, 0.06])
  expect(holm([0.5, 0.9])).toEqual([1, 1])
  expect(holm([])).toEqual([])
})

test('the ratio and its interval cover a change that was made', () => {
  const rng = random(8)
  const draw = (mean: number) => Array.from({ length: 12 }, () => mean * (1 + 0.03 * rng.normal()))
  let held = 0
  for (let at = 0; at < 200; at++) {
    const { ratio, interval } = compare(draw(100), draw(120))
    expect(ratio).toBeGreaterThan(1.1)
    expect(ratio).toBeLessThan(1.3)
    if (interval[0] <= 1.2 && interval[1] >= 1.2) held++
  }
  expect(held).toBeGreaterThan(180)
})

describe('a run compared with a record', () => {
  const machine = { cpu: 'x', cores: 2, memory_gib: 1, os: 'o', runtime: 'r', loadavg: [0], commit: 'c' }
  const row = (length: number, samples: readonly number[]) => ({
    engine: 'foretoken',
    build: 'wasm',
    mode: 'exact' as const,
    length,
    ttft_ms: { p50: 1, p95: 1, min: 1, max: 1 },
    samples,
  })
  const record = (date: string, rows: TtftRecord['rows'], change: object = {}): TtftRecord => ({
    bench: 'ttft',
    date,
    model: 'm',
    machine: { ...machine, ...change },
    rows,
  })
  const about = (ms: number) => [0.97, 0.98, 0.99, 1, 1.01, 1.02, 1.03].map((factor) => ms * factor)

  test('reports what changed, and nothing that did not', () => {
    const before = record('2026-01-01', [row(32, about(10)), row(128, about(40)), row(512, about(100))])
    const now = record('2026-01-02', [
      row(32, about(10.1)),
      row(128, about(50)),
      row(512, about(80)),
      row(1024, about(1)),
    ])
    expect(movedSince(before, now).map(({ length, verdict }) => [length, verdict])).toEqual([
      [32, 'same'],
      [128, 'slower'],
      [512, 'faster'],
    ])
    expect(movedSince(before, now)[1]!.ratio).toBeCloseTo(1.25, 1)
  })

  test('is compared with the last older record of the same machine and model', () => {
    const all = [
      record('2026-01-01', []),
      record('2026-01-03', []),
      record('2026-01-04', [], { cpu: 'y' }),
      record('2026-01-09', []),
    ]
    expect(lastLike(all, record('2026-01-05', []))?.date).toBe('2026-01-03')
    expect(lastLike(all, record('2026-01-05', [], { cores: 8 }))).toBeUndefined()
  })
})
