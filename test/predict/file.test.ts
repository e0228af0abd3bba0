/** The predictor file: what was written is read, and anything else is refused. */

import { describe, expect, test } from 'vitest'
import { ForetokenError } from '../../src/base/errors.ts'
import { memorySource } from '../../src/model/source.ts'
import { checkHeader } from '../../src/predict/check-header.ts'
import { mapsOf, readPredictor, writePredictor } from '../../src/predict/file.ts'
import { type PredictorPlan, sourcesOf, windowOf } from '../../src/predict/plan.ts'
import fc from '../helpers/properties.ts'
import { tinyPlan, tinyPredictor } from '../helpers/tiny-predictor.ts'

const file = tinyPredictor('b'.repeat(64))
const bytes = await writePredictor(file)
const read = (from: Uint8Array) => readPredictor(memorySource('p', from))

describe('a plan', () => {
  test('for the default model: 0-7, bridge, 16-18', () => {
    const plan: PredictorPlan = {
      kind: 'shared',
      shared: 8,
      runs: [{ from: 16, to: 19 }],
      taps: [0, 0],
      sinks: 4,
      window: 48,
    }
    const sources = sourcesOf(plan, 30)
    expect(sources.map(({ at }) => at)).toEqual([8, 19])
    expect(sources[0]!.maps).toEqual([9, 10, 11, 12, 13, 14, 15])
    expect(sources[1]!.maps).toEqual([19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29])
    expect(sources.map(({ run }) => run?.from)).toEqual([16, undefined])
  })

  test('covers every layer once: shared, its own K and V, run, or mapped', () => {
    for (const runs of [
      [],
      [{ from: 4, to: 5 }],
      [
        { from: 3, to: 4 },
        { from: 6, to: 7 },
      ],
    ]) {
      const plan = { ...tinyPlan, runs, taps: [0, ...runs.map(() => 0)] }
      const mapped = sourcesOf(plan, 7).flatMap(({ maps }) => maps)
      const run = runs.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i))
      expect([0, 1, 2, ...mapped, ...run].sort()).toEqual([0, 1, 2, 3, 4, 5, 6])
    }
  })

  test.each([
    ['another version', { version: 3 }],
    ['no version', { version: undefined }],
    ['layers without MLPs in an older version', { plan: { ...tinyPlan, runs: [{ from: 4, to: 5, mlp: false }] } }],
    ['half an MLP', { version: 2, plan: { ...tinyPlan, runs: [{ from: 4, to: 5, mlp: 0.5 }] } }],
    ['another kind', { plan: { ...tinyPlan, kind: 'magic' } }],
    ['nothing shared', { plan: { ...tinyPlan, shared: 0 } }],
    ['all shared', { plan: { ...tinyPlan, shared: 7 } }],
    ['a run before the shared layers end', { plan: { ...tinyPlan, runs: [{ from: 2, to: 3 }] } }],
    ['a run past the end', { plan: { ...tinyPlan, runs: [{ from: 4, to: 8 }] } }],
    ['a run with MLPs at the shared state', { plan: { ...tinyPlan, runs: [{ from: 2, to: 3 }] }, version: 2 }],
    ['an empty run', { plan: { ...tinyPlan, runs: [{ from: 4, to: 4 }] } }],
    ['too few taps', { plan: { ...tinyPlan, taps: [1] } }],
    ['negative taps', { plan: { ...tinyPlan, taps: [1, -1] } }],
    ['no window', { plan: { ...tinyPlan, window: 0 } }],
    ['a window of at most half a token', { version: 2, plan: { ...tinyPlan, windowMost: 0.5 } }],
    ['a window of at most less than its least', { version: 2, plan: { ...tinyPlan, windowMost: 7 } }],
    ['a largest window in an older version', { plan: { ...tinyPlan, windowMost: 8 } }],
    ['half a sink', { plan: { ...tinyPlan, sinks: 0.5 } }],
    ['no plan', { plan: null }],
    ['no base', { base: undefined }],
    ['a huge width', { hidden: 2 ** 40 }],
    ['no gate', { gate: 'x' }],
  ])('with %s is refused', (_, change) => {
    expect(() => checkHeader({ ...file.header, ...change }, 'p')).toThrow(
      expect.objectContaining({ code: 'bad_predictor' }),
    )
  })
})

test('the exact end is a share of the prompt between its least and its most', () => {
  const ends = { ...tinyPlan, window: 8, windowShare: 0.25, windowMost: 100 }
  expect([0, 31, 32, 36, 399, 400, 404, 4000].map((fresh) => windowOf(ends, fresh))).toEqual([
    8, 8, 8, 9, 99, 100, 100, 100,
  ])
  expect(windowOf({ ...tinyPlan, windowShare: 0.25 }, 4000)).toBe(1000)
  expect(checkHeader({ ...file.header, version: 2, plan: ends }, 'p').plan).toEqual(ends)
})

describe('the file', () => {
  test('reads back as written', async () => {
    const back = await read(bytes)
    expect(back.header).toEqual(file.header)
    expect([...back.maps.keys()]).toEqual(mapsOf(file.header).map(({ name }) => name))
    for (const [name, map] of file.maps) expect(back.maps.get(name)).toEqual(map)
  })

  test("is safetensors: the head gives each tensor's place", () => {
    const length = Number(new DataView(bytes.buffer).getBigUint64(0, true))
    const head = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)))
    expect(head['layers.3.weight']).toMatchObject({ dtype: 'I8', shape: [256, 768] })
    expect(head['bridges.4.scale']).toMatchObject({ dtype: 'F16', shape: [256, 24] })
    const ends = Object.entries<{ data_offsets: number[] }>(head)
      .filter(([name]) => name !== '__metadata__')
      .map(([, { data_offsets }]) => data_offsets[1]!)
    expect(Math.max(...ends)).toBe(bytes.length - 8 - length)
  })

  test('truncated anywhere is refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: bytes.length - 1 }), async (length) => {
        await expect(read(bytes.subarray(0, length))).rejects.toMatchObject({ code: 'bad_predictor' })
      }),
      { numRuns: 50, examples: [[0], [7], [8], [100]] },
    )
    await expect(read(new Uint8Array([...bytes, 0]))).rejects.toMatchObject({ code: 'bad_predictor' })
  })

  test('changed anywhere is refused', async () => {
    const length = Number(new DataView(bytes.buffer).getBigUint64(0, true))
    const place = fc.oneof(fc.nat(bytes.length - 1), fc.nat(8 + length - 1))
    await fc.assert(
      fc.asyncProperty(place, fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const changed = bytes.slice()
        changed[at]! ^= change
        const error = await read(changed).then(
          () => undefined,
          (reason) => reason,
        )
        // Other whitespace, or another name that is not read, changes nothing.
        if (error === undefined) expect(at).toBeLessThan(8 + length)
        else expect(error).toBeInstanceOf(ForetokenError)
        if (error) expect(['bad_predictor', 'checksum', 'wrong_model']).toContain(error.code)
      }),
      { numRuns: 150 },
    )
  })

  test('with a value that is not finite is refused, whatever its checksum', async () => {
    const maps = new Map(file.maps)
    const map = maps.get('layers.3')!
    const bias = map.bias.slice()
    bias[7] = NaN
    maps.set('layers.3', { ...map, bias })
    await expect(read(await writePredictor({ ...file, maps }))).rejects.toMatchObject({ code: 'bad_predictor' })
    const scale = map.scale.slice()
    scale[3] = 0x7c00
    maps.set('layers.3', { ...map, scale })
    await expect(read(await writePredictor({ ...file, maps }))).rejects.toMatchObject({ code: 'bad_predictor' })
  })
})
