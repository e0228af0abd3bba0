/**
 * Tests of every `Backend` against naive loops in f64. Bounds are derived: f32 sums err by at most
 * (terms + 8) x 2^-24 x sum |terms|; int8 activations by half a step; scales in binary16 by 2^-11.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { tensorBlocks } from '../../src/base/model.ts'
import { normalize, topIds } from '../../src/decode/logprobs.ts'
import { random } from '../helpers/random.ts'
import { attentionTests } from './backend-attention.ts'
import { convolutionTests } from './backend-convolution.ts'
import {
  type BackendTraits,
  eps,
  expectNear,
  makeWeight,
  norm,
  product,
  quantTypes,
  scaleError,
  seed,
  upload,
} from './backend-oracles.ts'

export function runBackendSuite(
  name: string,
  open: () => Promise<Backend>,
  { activations }: BackendTraits = { activations: 'int8' },
): void {
  describe(`${name} (seed ${seed})`, () => {
    let backend: Backend
    beforeAll(async () => {
      backend = await open()
      backend.prepare({ tokens: 64, maxK: 2048, headDim: 128, groups: [1, 2, 3, 8] })
    })
    afterAll(() => backend.close())

    describe.each(quantTypes)('matmul with %s weights', (type) => {
      const k = tensorBlocks[type].elements > 64 ? 512 : 192
      test.each([1, 2, 3, 4, 5, 8, 11, 33, 64])('%i rows', async (rows) => {
        const rng = random(seed + rows)
        const n = 24 + rng.below(9)
        const { weight, values } = makeWeight(backend, rng, type, n, k)
        const x = upload(backend, rng, rows, k)
        const out = backend.tensor(rows, n)
        backend.matmul(out, x.tensor, [weight], rows)
        const got = await backend.read(out, rows)
        for (let row = 0; row < rows; row++)
          for (let col = 0; col < n; col++) {
            const right = product(x.values.subarray(row * k), values.subarray(col * k), k, type, activations)
            expectNear(got[row * n + col]!, right.want, right.bound, `${type} row ${row} col ${col}`)
          }
      })

      test('a row has the same bits whatever shares the pass, and add adds', async () => {
        const rng = random(seed)
        const rows = 13
        const { weight } = makeWeight(backend, rng, type, 40, k)
        const x = upload(backend, rng, rows, k)
        const out = backend.tensor(rows, 40)
        backend.matmul(out, x.tensor, [weight], rows)
        const together = await backend.read(out, rows)
        const alone = backend.tensor(1, 40)
        for (let row = 0; row < rows; row++) {
          const one = upload(backend, rng, 1, k, x.values.slice(row * k, (row + 1) * k))
          backend.matmul(alone, one.tensor, [weight], 1)
          expect(await backend.read(alone, 1)).toEqual(together.slice(row * 40, (row + 1) * 40))
        }
        backend.matmulAdd(out, x.tensor, weight, rows)
        const twice = await backend.read(out, rows)
        twice.forEach((value, i) => {
          expectNear(value, 2 * together[i]!, Math.abs(together[i]!) * 1e-5 + 1e-6, `twice ${i}`)
        })
      })
    })

    // There are more rows and outputs than in a tile of any backend, and neither is a multiple of
    // one; magnitudes of rows differ widely.
    test.each(['q4_1', 'q8_0', 'f16', 'f32'] as const)(
      'many rows and outputs of %s, added to existing values',
      async (type) => {
        const rng = random(seed)
        const [rows, n, k] = [75, 141, 96]
        const { weight, values } = makeWeight(backend, rng, type, n, k)
        const sizes = Array.from({ length: rows }, (_, row) => 10 ** ((row % 11) - 5))
        const x = upload(
          backend,
          rng,
          rows,
          k,
          rng.floats(rows * k).map((value, i) => value * sizes[Math.floor(i / k)]!),
        )
        const wide = backend.tensor(rows, n + 20)
        const out = backend.columns(wide, 12, n)
        backend.matmul(out, x.tensor, [weight], rows)
        backend.matmulAdd(out, x.tensor, weight, rows)
        const got = await backend.read(wide, rows)
        for (let row = 0; row < rows; row++)
          for (let col = 0; col < n + 20; col++) {
            const found = got[row * (n + 20) + col]!
            if (col < 12 || col >= 12 + n) expect(found).toBe(0)
            else {
              const of = values.subarray((col - 12) * k)
              const { want, bound } = product(x.values.subarray(row * k), of, k, type, activations)
              expectNear(found, 2 * want, 2 * bound, `${type} row ${row} col ${col - 12}`)
            }
          }
      },
    )

    test('shortlists give the best of each row, and the log-sum-exp of all', async () => {
      const { shortlists } = backend
      if (!shortlists) return
      const rng = random(seed)
      const [rows, cols] = [3, 5000]
      // There are equal values, within and across runs of columns; the last row is constant.
      const values = rng.floats(rows * cols).map((value, i) => (i < 2 * cols ? Math.round(value * 50) / 10 : -7))
      const x = upload(backend, rng, rows, cols, values)
      for (const count of [1, 2, 40, shortlists.longest]) {
        const got = await shortlists.of(x.tensor, rows, count)
        expect(got).toHaveLength(rows)
        got.forEach(({ ids, logits, logSum }, row) => {
          const own = values.subarray(row * cols, (row + 1) * cols)
          expect(ids).toEqual(topIds(own, count))
          expect(logits).toEqual(Float32Array.from(ids, (id) => own[id]!))
          expectNear(logSum, normalize(own).logSum, 1e-5, `row ${row}`)
        })
      }
      const few = await shortlists.of(backend.columns(x.tensor, 0, 3), 1, 3)
      expect([...few[0]!.ids].sort()).toEqual([0, 1, 2])
      for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
        backend.write(x.tensor, 1, values.slice(0, cols).fill(bad, 4321, 4322))
        await expect(shortlists.of(x.tensor, 2, 1)).rejects.toThrow('forward pass failed')
      }
      await expect(shortlists.of(x.tensor, 1, shortlists.longest + 1)).rejects.toThrow('give 1 to')
    })

    test.each(quantTypes)('embed reads rows of %s weights', async (type) => {
      const rng = random(seed)
      const k = tensorBlocks[type].elements > 32 ? 256 : 96
      const { weight, values } = makeWeight(backend, rng, type, 21, k)
      const ids = [20, 0, 7, 7, 13]
      const out = backend.tensor(ids.length, k)
      backend.embed(out, weight, ids)
      const got = await backend.read(out, ids.length)
      ids.forEach((id, row) => {
        for (let i = 0; i < k; i++) {
          const want = values[id * k + i]!
          expectNear(got[row * k + i]!, want, scaleError(type, want), `row ${id} column ${i}`)
        }
      })
      expect(() => backend.embed(out, weight, [21])).toThrow(/token id 21 is outside the vocabulary 0..20/)
      expect(() => backend.embed(out, weight, [-1])).toThrow(/token id -1/)
    })

    test('several weights of different types make columns side by side', async () => {
      const rng = random(seed)
      const parts = (['q4_1', 'q8_0', 'f32'] as const).map((type) => makeWeight(backend, rng, type, 16, 64))
      const x = upload(backend, rng, 5, 64)
      const out = backend.tensor(5, 48)
      backend.matmul(
        out,
        x.tensor,
        parts.map((part) => part.weight),
        5,
      )
      const got = await backend.read(out, 5)
      const alone = backend.tensor(5, 16)
      for (const [index, part] of parts.entries()) {
        backend.matmul(alone, x.tensor, [part.weight], 5)
        const want = await backend.read(alone, 5)
        for (let row = 0; row < 5; row++)
          expect(got.slice(row * 48 + index * 16, row * 48 + index * 16 + 16)).toEqual(
            want.slice(row * 16, row * 16 + 16),
          )
      }
    })

    test('scaleColumns, on columns of a wider tensor and on fewer rows than it has', async () => {
      const rng = random(seed)
      const x = upload(backend, rng, 7, 72)
      const factors = rng.floats(32).map((factor, i) => (i % 4 === 1 ? factor : 1))
      backend.scaleColumns(backend.columns(x.tensor, 24, 32), backend.vector(factors), 5)
      const got = await backend.read(x.tensor, 7)
      got.forEach((value, i) => {
        const [row, col] = [Math.floor(i / 72), (i % 72) - 24]
        const inside = row < 5 && col >= 0 && col < 32
        expect(value, `row ${row}, column ${col}`).toBe(Math.fround(x.values[i]! * (inside ? factors[col]! : 1)))
      })
    })

    test('rmsNorm, headNorm, addBias and swiglu', async () => {
      const rng = random(seed)
      const rows = 7
      const cols = 72
      const weight = rng.floats(cols)
      const x = upload(backend, rng, rows, cols)
      const out = backend.tensor(rows, cols)
      backend.rmsNorm(out, x.tensor, backend.vector(weight), 1e-5, rows)
      const got = await backend.read(out, rows)
      const want = norm(x.values, weight, cols, 1e-5)
      got.forEach((value, i) => {
        expectNear(value, want[i]!, (cols + 8) * eps * Math.abs(want[i]!) + 1e-30, `norm ${i}`)
      })

      const heads = upload(backend, rng, rows, cols)
      const headWeight = rng.floats(8)
      const middle = backend.columns(heads.tensor, 24, 32)
      backend.headNorm(middle, backend.vector(headWeight), 1e-6, rows)
      const bias = rng.floats(32)
      backend.addBias(middle, backend.vector(bias), rows)
      const changed = await backend.read(heads.tensor, rows)
      for (let row = 0; row < rows; row++)
        for (let col = 0; col < cols; col++) {
          const at = row * cols + col
          const head = at - ((col - 24) % 8)
          const inside = col >= 24 && col < 56
          const expected = inside
            ? norm(heads.values.slice(head, head + 8), headWeight, 8, 1e-6)[(col - 24) % 8]! + bias[col - 24]!
            : heads.values[at]!
          expectNear(
            changed[at]!,
            expected,
            inside ? 64 * eps * (Math.abs(expected) + 4) : 0,
            `head norm ${row},${col}`,
          )
        }

      const gateUp = upload(backend, rng, rows, cols)
      const gate = backend.columns(gateUp.tensor, 0, cols / 2)
      backend.activation(gate, gate, backend.columns(gateUp.tensor, cols / 2, cols / 2), 'silu', rows)
      const activated = await backend.read(gateUp.tensor, rows)
      for (let row = 0; row < rows; row++)
        for (let col = 0; col < cols / 2; col++) {
          const g = gateUp.values[row * cols + col]!
          const u = gateUp.values[row * cols + cols / 2 + col]!
          const expected = (g / (1 + Math.exp(-g))) * u
          expectNear(
            activated[row * cols + col]!,
            expected,
            64 * eps * Math.abs(expected) + 1e-12,
            `swiglu ${row},${col}`,
          )
        }
    })

    test('gatherRows and columns', async () => {
      const rng = random(seed)
      const x = upload(backend, rng, 9, 20)
      const out = backend.tensor(3, 20)
      backend.gatherRows(out, x.tensor, [8, 0, 5])
      const got = await backend.read(out, 3)
      expect(got).toEqual(Float32Array.from([8, 0, 5].flatMap((row) => [...x.values.slice(row * 20, row * 20 + 20)])))
      const wide = backend.tensor(2, 50)
      backend.gatherRows(backend.columns(wide, 25, 20), backend.rows(x.tensor, 2), [6, 0])
      const beside = await backend.read(wide, 2)
      expect(beside.slice(25, 45)).toEqual(x.values.slice(160, 180))
      expect(beside.slice(75, 95)).toEqual(x.values.slice(40, 60))
      expect([beside[24], beside[45], beside[74], beside[95]]).toEqual([0, 0, 0, 0])
    })

    test('write and rows', async () => {
      const x = backend.tensor(5, 3)
      backend.write(x, 1, Float32Array.of(1, 2, 3, 4, 5, 6))
      expect(await backend.read(backend.rows(x, 2), 3)).toEqual(Float32Array.of(4, 5, 6, 0, 0, 0, 0, 0, 0))
      for (const bad of [
        () => backend.write(x, 4, new Float32Array(6)),
        () => backend.write(x, 0, new Float32Array(4)),
      ])
        expect(bad).toThrow('do not fill')
      expect(() => backend.rows(x, 6)).toThrow('row 6')
    })

    test('moments add up in f64', async () => {
      const rng = random(seed)
      const [rows, left, right] = [64, 21, 13]
      const x = upload(backend, rng, rows, left)
      const y = upload(backend, rng, rows, right)
      const { fitting } = backend
      if (!fitting) return
      const sums = fitting.moments(left, right)
      for (let turn = 0; turn < 3; turn++) fitting.add(sums, x.tensor, y.tensor, rows)
      const got = await fitting.read(sums)
      for (let i = 0; i < left; i++)
        for (let j = 0; j < right; j++) {
          const products = Array.from({ length: rows }, (_, r) => x.values[r * left + i]! * y.values[r * right + j]!)
          const want = 3 * products.reduce((sum, value) => sum + value, 0)
          const size = 3 * products.reduce((sum, value) => sum + Math.abs(value), 0)
          expectNear(got[i * right + j]!, want, (rows + 8) * eps * size, `moment ${i},${j}`)
        }
      expect(() => fitting.add(sums, y.tensor, x.tensor, rows)).toThrow('do not fit')
    })

    test('gelu is its tanh approximation; gate and up need not be adjacent', async () => {
      const rng = random(seed)
      const [rows, cols] = [5, 37]
      const gate = upload(backend, rng, rows, cols)
      const up = upload(backend, rng, rows, cols)
      for (const kind of ['silu', 'gelu'] as const) {
        const out = backend.tensor(rows, cols)
        backend.activation(out, gate.tensor, up.tensor, kind, rows)
        const got = await backend.read(out, rows)
        gate.values.forEach((g, i) => {
          const half = kind === 'silu' ? g / 2 : Math.sqrt(2 / Math.PI) * (g + 0.044715 * g ** 3)
          const want = (g / 2) * (1 + Math.tanh(half)) * up.values[i]!
          // 1 + tanh cancels in f64, too, where g is far below 0, so the bound has an absolute
          // term.
          expectNear(got[i]!, want, 128 * eps * Math.abs(want) * (1 + Math.abs(half)) + 1e-12, `${kind} ${i}`)
        })
      }
      const inPlace = upload(backend, rng, rows, cols, up.values)
      backend.activation(inPlace.tensor, gate.tensor, inPlace.tensor, 'gelu', rows)
      const out = backend.tensor(rows, cols)
      backend.activation(out, gate.tensor, up.tensor, 'gelu', rows)
      expect(await backend.read(inPlace.tensor, rows)).toEqual(await backend.read(out, rows))
    })

    test('addScaled and scale', async () => {
      const rng = random(seed)
      const [rows, cols] = [6, 21]
      const wide = upload(backend, rng, rows, cols + 9)
      const x = upload(backend, rng, rows, cols)
      const middle = backend.columns(wide.tensor, 4, cols)
      backend.addScaled(middle, x.tensor, 0.25, rows)
      backend.scale(middle, -3, rows - 1)
      const got = await backend.read(wide.tensor, rows)
      got.forEach((value, i) => {
        const [row, col] = [Math.floor(i / (cols + 9)), (i % (cols + 9)) - 4]
        const inside = col >= 0 && col < cols
        const sum = wide.values[i]! + (inside ? 0.25 * x.values[row * cols + col]! : 0)
        const want = inside && row < rows - 1 ? -3 * sum : sum
        expectNear(value, want, inside ? 8 * eps * (Math.abs(want) + 3) : 0, `${row},${col}`)
      })
    })

    test('rotations of a plan are kept apart', async () => {
      const rng = random(seed)
      const pool = backend.kvPool({ type: 'f32', layers: 1, kvHeads: 1, headDim: 16 })
      const segments = [{ start: 0, length: 7, past: 0, pages: pool.add(1) }]
      const ropes = [
        { headDim: 16, theta: 10_000, pairs: 'half' },
        { headDim: 16, theta: 500, pairs: 'adjacent', divisors: [1, 1, 2, 2, 4, 4, 8, 8] },
      ] as const
      const x = upload(backend, rng, 7, 32)
      for (const [index, rope] of ropes.entries()) {
        const alone = upload(backend, rng, 7, 32, x.values)
        backend.plan(segments, [rope])
        backend.rope(alone.tensor, 0)
        const together = upload(backend, rng, 7, 32, x.values)
        backend.plan(segments, ropes)
        backend.rope(together.tensor, index)
        expect(await backend.read(together.tensor, 7)).toEqual(await backend.read(alone.tensor, 7))
      }
      pool.remove(segments[0]!.pages)
    })

    test('soft caps of rows equal cap * tanh(x / cap)', async () => {
      const rng = random(seed)
      for (const cap of [0.5, 30]) {
        const { tensor, values } = upload(backend, rng, 5, 67)
        backend.scale(tensor, 40, 5)
        backend.softCap(backend.columns(tensor, 2, 63), cap, 4)
        const got = await backend.read(tensor, 5)
        for (const [i, value] of values.entries()) {
          const [row, col] = [Math.floor(i / 67), i % 67]
          const inside = row < 4 && col >= 2 && col < 65
          const want = inside ? cap * Math.tanh((40 * value) / cap) : 40 * value
          expectNear(got[i]!, want, inside ? 2e-5 * cap : 1e-5 * Math.abs(want), `cap ${cap} at ${row}, ${col}`)
        }
      }
    })

    attentionTests(() => backend)
    convolutionTests(() => backend)
  })
}
