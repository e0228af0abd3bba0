import { describe, expect, test } from 'vitest'
import { PagedCache } from '../../src/kv/paged.ts'
import { pack } from '../../src/pack/pack.ts'
import { type Placement, placedChunks, positionAfter, rowsBetween } from '../../src/pack/placements.ts'
import { fakePool } from '../helpers/fake-model.ts'
import { random } from '../helpers/random.ts'
import { seed } from '../helpers/seed.ts'

const kv = { read: () => new Float32Array(0) }

/** Random placements in a prompt of `length` tokens, never its last token; some touch. */
function placementsIn(length: number, rng: ReturnType<typeof random>): Placement[] {
  const placements: Placement[] = []
  for (let at = rng.below(6); at < length - 2; at += rng.below(12)) {
    const to = Math.min(length - 1, at + 1 + rng.below(20))
    placements.push({ from: at, to, kv, at: rng.below(9) })
    at = to
  }
  return placements
}

const isPlaced = (placements: readonly Placement[], position: number) =>
  placements.some(({ from, to }) => position >= from && position < to)

describe('a prompt with placed tokens', () => {
  test('is counted and cut token by token', () => {
    const rng = random(seed)
    for (let round = 0; round < 200; round++) {
      const length = 2 + rng.below(120)
      const placements = placementsIn(length, rng)
      const from = rng.below(length)
      const run = Array.from({ length }, (_, at) => at).filter((at) => at >= from && !isPlaced(placements, at))
      expect(rowsBetween(placements, from, length)).toBe(run.length)
      for (const rows of [1, 2, 7, run.length]) {
        if (rows > run.length) continue
        // The place behind the last of these rows.
        expect(positionAfter(placements, from, rows)).toBe(run[rows - 1]! + 1)
      }
    }
  })

  test('is laid out in passes that run each other token once, and place the rest where it belongs', () => {
    const rng = random(seed + 1)
    for (let round = 0; round < 60; round++) {
      const length = 2 + rng.below(120)
      const ids = Array.from({ length }, (_, i) => i)
      const placements = placementsIn(length, rng)
      const sequence = new PagedCache(fakePool(), 32).open()
      const ran: number[] = []
      const placed = new Map<number, number>()
      while (sequence.length < length) {
        const from = sequence.length
        const to = positionAfter(placements, from, Math.min(1 + rng.below(9), rowsBetween(placements, from, length)))
        const pass = pack(placedChunks(sequence, ids, placements, { from, to, outputs: 'last' }))
        expect(sequence.length).toBe(to)
        expect(pass.outputs).toEqual([pass.ids.length - 1])
        for (const { start, length: rows, past } of pass.segments)
          for (let i = 0; i < rows; i++) {
            expect(pass.ids[start + i]).toBe(past + i)
            ran.push(past + i)
          }
        for (const { segment, from: at } of pass.placed ?? [])
          for (let i = 0; i < segment.length; i++) placed.set(segment.past + i, at + i)
      }
      expect(ran).toEqual(ids.filter((at) => !isPlaced(placements, at)))
      const want = placements.flatMap(({ from, to, at }) =>
        Array.from({ length: to - from }, (_, i) => [from + i, at + i] as const),
      )
      expect([...placed]).toEqual(want)
    }
  })
})
