/** Tests of short convolutions over pages, part of the suite of every `Backend`. */
import { describe, expect, test } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import type { KvType } from '../../src/base/kv.ts'
import type { Segment } from '../../src/base/pass.ts'
import { random } from '../helpers/random.ts'
import { eps, expectNear, seed, upload } from './backend-oracles.ts'

/** Defines the tests. `backend` returns the backend under test, once it is open. */
export function convolutionTests(backend: () => Backend): void {
  describe.each(['f32', 'f16', 'int8'] as const)('a convolution over %s pages', (type) => {
    test.each([
      { taps: 1, kvHeads: 1, headDim: 8 },
      { taps: 2, kvHeads: 3, headDim: 16 },
      { taps: 3, kvHeads: 2, headDim: 24 },
      { taps: 4, kvHeads: 1, headDim: 128 },
      { taps: 16, kvHeads: 2, headDim: 8 },
    ])('$taps taps, $kvHeads heads of $headDim', async (shape) => {
      await checkConvolution(backend(), type, shape)
    })

    test('has the same bits in passes of any size', async () => {
      const rng = random(seed)
      const [tokens, channels] = [41, 32]
      const inputs = rng.floats(tokens * channels)
      const factors = rng.floats(tokens * channels)
      const weights = backend().vector(rng.floats(3 * channels))
      const run = async (sizes: readonly number[]) => {
        const pool = backend().kvPool({ type, layers: 1, kvHeads: 2, headDim: 8, convolutions: [true] })
        const pages = pool.add(3)
        const rows: number[] = []
        for (let past = 0, turn = 0; past < tokens; turn++) {
          const length = Math.min(sizes[turn % sizes.length]!, tokens - past)
          const own = (values: Float32Array) => values.slice(past * channels, (past + length) * channels)
          const b = upload(backend(), rng, length, channels, own(inputs)).tensor
          const x = upload(backend(), rng, length, channels, own(factors)).tensor
          backend().plan([{ start: 0, length, past, pages }], [])
          backend().writeKv(pool, 0, backend().columns(b, 0, 16), backend().columns(b, 16, 16))
          backend().convolve(x, pool, 0, weights)
          rows.push(...(await backend().read(x, length)))
          past += length
        }
        return rows
      }
      const whole = await run([tokens])
      for (const sizes of [[1], [7, 16, 2], [15, 17]]) expect(await run(sizes)).toEqual(whole)
    })

    test('layers of both kinds lie end to end in a page, and inputs have 16 bits or more', async () => {
      const kinds = { layerKvHeads: [2, 1, 2], convolutions: [true, false, true] }
      const pool = backend().kvPool({ type, layers: 3, kvHeads: 2, headDim: 16, ...kinds })
      const [page] = pool.add(1) as [number]
      const parts: number[] = []
      for (const [layer, kvHeads] of kinds.layerKvHeads.entries()) {
        const own: KvType = kinds.convolutions[layer] && type === 'int8' ? 'f16' : type
        const alone = backend().kvPool({ type: own, layers: 1, kvHeads, headDim: 16 })
        const [only] = alone.add(1) as [number]
        const { tensor } = upload(backend(), random(seed + layer), 16, 2 * kvHeads * 16)
        const half = (at: number) => backend().columns(tensor, at * kvHeads * 16, kvHeads * 16)
        for (const [to, index, pages] of [[pool, layer, [page]] as const, [alone, 0, [only]] as const]) {
          backend().plan([{ start: 0, length: 16, past: 0, pages }], [])
          backend().writeKv(to, index, half(0), half(1))
        }
        parts.push(...(await alone.readPage(only)))
      }
      expect(await pool.readPage(page)).toEqual(Uint8Array.from(parts))
    })
  })

  test('multiply, on columns of a wider tensor and on fewer rows than it has', async () => {
    const rng = random(seed)
    const x = upload(backend(), rng, 7, 72)
    const y = upload(backend(), rng, 7, 33)
    backend().multiply(backend().columns(x.tensor, 24, 33), y.tensor, 5)
    const got = await backend().read(x.tensor, 7)
    got.forEach((value, i) => {
      const [row, col] = [Math.floor(i / 72), (i % 72) - 24]
      const inside = row < 5 && col >= 0 && col < 33
      expect(value).toBe(Math.fround(x.values[i]! * (inside ? y.values[row * 33 + col]! : 1)))
    })
  })
}

/** Half a step of the type of a page that holds inputs, relative to a value. */
const kept: Readonly<Record<KvType, number>> = { f32: 0, f16: 2 ** -11, int8: 2 ** -11 }

/** Compares three sequences in one pass and in a second one with the definition. */
async function checkConvolution(
  backend: Backend,
  type: KvType,
  { taps, kvHeads, headDim }: { taps: number; kvHeads: number; headDim: number },
): Promise<void> {
  const rng = random(seed + taps)
  const channels = 2 * kvHeads * headDim
  const pool = backend.kvPool({ type, layers: 2, kvHeads, headDim, convolutions: [false, true] })
  const all = pool.add(8)
  const pages = [
    [3, 6, 1, 0],
    [2, 4],
    [7, 5],
  ].map((list) => list.map((page) => all[page]!))
  const weights = rng.floats(taps * channels)
  const vector = backend.vector(weights)
  const seen: Float32Array[][] = [[], [], []]
  let past = [0, 0, 0]
  for (const lengths of [
    [37, 1, 16],
    [5, 19, 1],
  ]) {
    let start = 0
    const segments: Segment[] = lengths.map((length, i) => {
      const segment = { start, length, past: past[i]!, pages: pages[i]! }
      start += length
      return segment
    })
    const inputs = upload(backend, rng, start, channels)
    const wide = upload(backend, rng, start, channels + 3)
    const x = backend.columns(wide.tensor, 3, channels)
    backend.plan(segments, [])
    const half = (at: number) => backend.columns(inputs.tensor, (at * channels) / 2, channels / 2)
    backend.writeKv(pool, 1, half(0), half(1))
    // The window leaves out the first segment, whose rows stay as they are.
    backend.window(1, 3)
    backend.convolve(backend.rows(x, lengths[0]!), pool, 1, vector)
    backend.window(0, 1)
    backend.convolve(x, pool, 1, vector)
    const got = await backend.read(wide.tensor, start)
    segments.forEach((segment, i) => {
      for (let row = segment.start; row < segment.start + segment.length; row++) {
        seen[i]!.push(inputs.values.slice(row * channels, (row + 1) * channels))
        for (let channel = 0; channel < channels; channel++) {
          const terms = Array.from({ length: taps }, (_, tap) => {
            const input = seen[i]!.at(tap - taps)?.[channel] ?? 0
            return seen[i]!.length > taps - 1 - tap ? input * weights[tap * channels + channel]! : 0
          })
          const factor = wide.values[row * (channels + 3) + 3 + channel]!
          const sum = terms.reduce((total, term) => total + term, 0)
          const size = terms.reduce((total, term) => total + Math.abs(term), 0)
          const bound = Math.abs(factor) * size * (kept[type] + (2 * taps + 2) * eps) + 1e-6 * kept[type] + 1e-30
          expectNear(
            got[row * (channels + 3) + 3 + channel]!,
            sum * factor,
            bound,
            `segment ${i} row ${row} channel ${channel}`,
          )
        }
        expect(got.slice(row * (channels + 3), row * (channels + 3) + 3)).toEqual(
          wide.values.slice(row * (channels + 3), row * (channels + 3) + 3),
        )
      }
    })
    past = past.map((had, i) => had + lengths[i]!)
  }
}
