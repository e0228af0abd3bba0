/** Tests of attention over pages, part of the suite of every `Backend`. */
import { describe, expect, test } from 'vitest'
import type { Backend, Tensor } from '../../src/backend/backend.ts'
import type { AttentionSpec } from '../../src/base/model.ts'
import { random } from '../helpers/random.ts'
import { checkAttention, expectNear, seed, upload } from './backend-oracles.ts'

/** Defines the tests. `backend` returns the backend under test, once it is open. */
export function attentionTests(backend: () => Backend): void {
  describe.each(['f32', 'f16', 'int8'] as const)('attention over %s pages', (type) => {
    test.each([1, 7, 16, 21, 40, 1000])('with a window of the last %i tokens', async (window) => {
      await checkAttention(backend(), type, { heads: 6, kvHeads: 2, headDim: 32 }, { window })
    })

    test.each([{ softCap: 0.7 }, { softCap: 50, window: 21 }, { turned: 24, amplitude: 1.19 }, { turned: 2 }])(
      'with %o',
      async (spec) => {
        await checkAttention(backend(), type, { heads: 6, kvHeads: 2, headDim: 32 }, spec)
        await checkAttention(backend(), type, { heads: 2, kvHeads: 1, headDim: 64 }, spec)
      },
    )

    test('a window over several blocks of keys', async () => {
      const [tokens, headDim, window] = [300, 16, 170]
      const rng = random(seed)
      const pool = backend().kvPool({ type, layers: 1, kvHeads: 1, headDim })
      const pages = pool.add(19)
      const own = backend().tensor(tokens, 3 * headDim)
      backend().write(own, 0, rng.floats(tokens * 3 * headDim))
      const [q, k, v] = [0, 1, 2].map((at) => backend().columns(own, at * headDim, headDim)) as [Tensor, Tensor, Tensor]
      backend().plan([{ start: 0, length: tokens, past: 0, pages }], [])
      backend().writeKv(pool, 0, k, v)
      const out = backend().tensor(tokens, headDim)
      backend().attention(out, q, pool, 0, { scale: 0.25, window })
      const windowed = await backend().read(out, tokens)
      // A sequence that begins where a row's window does has the same keys at other positions.
      for (const last of [200, 299]) {
        const from = last + 1 - window
        const list = pool.add(11)
        const rows = (x: Tensor) => backend().rows(x, from)
        backend().plan([{ start: 0, length: window, past: 0, pages: list }], [])
        backend().writeKv(pool, 0, rows(k), rows(v))
        const alone = backend().tensor(window, headDim)
        backend().attention(alone, rows(q), pool, 0, { scale: 0.25 })
        const want = (await backend().read(alone, window)).slice(-headDim)
        for (const [d, value] of want.entries())
          expectNear(windowed[last * headDim + d]!, value, 1e-5, `row ${last} dim ${d}`)
      }
    })

    test.each([undefined, 1, 21, 100, 1000])('both ways, within %i tokens', async (window) => {
      const [tokens, headDim] = [150, 16]
      const rng = random(seed)
      const pool = backend().kvPool({ type, layers: 1, kvHeads: 1, headDim })
      const values = rng.floats(tokens * 3 * headDim)
      const spec = { scale: 0.25, bothWays: true, ...(window && { window }) }
      /** The output of queries `q` over keys and values `kv`, which begin as segments do. */
      const run = async (q: Float32Array, kv: Float32Array, lengths: readonly number[], spec: AttentionSpec) => {
        const count = kv.length / (2 * headDim)
        const [queries, both] = [backend().tensor(count, headDim), backend().tensor(count, 2 * headDim)]
        backend().write(queries, 0, q)
        backend().write(both, 0, kv)
        let start = 0
        const segments = lengths.map((length) => {
          const segment = { start, length, past: 0, pages: pool.add(Math.ceil(length / 16)) }
          start += length
          return segment
        })
        backend().plan(segments, [])
        backend().writeKv(pool, 0, backend().columns(both, 0, headDim), backend().columns(both, headDim, headDim))
        const out = backend().tensor(count, headDim)
        backend().attention(out, queries, pool, 0, spec)
        return backend().read(out, count)
      }
      const [q, kv] = [values.slice(0, tokens * headDim), values.slice(tokens * headDim)]
      const got = await run(q, kv, [tokens], spec)
      for (const row of [0, 1, 63, 64, 127, 128, 149]) {
        const reach = window ?? tokens
        const [from, to] = [Math.max(0, row - reach + 1), Math.min(tokens, row + reach)]
        // The last query of a causal sequence of just these keys sees all of them.
        const queries = new Float32Array((to - from) * headDim)
        queries.set(q.subarray(row * headDim, (row + 1) * headDim), queries.length - headDim)
        const keys = kv.slice(from * 2 * headDim, to * 2 * headDim)
        const want = (await run(queries, keys, [to - from], { scale: 0.25 })).slice(-headDim)
        for (const [d, value] of want.entries()) expectNear(got[row * headDim + d]!, value, 1e-5, `row ${row} dim ${d}`)
      }
      const twice = await run(
        Float32Array.of(...q.subarray(0, 40 * headDim), ...q),
        Float32Array.of(...kv.subarray(0, 80 * headDim), ...kv),
        [40, tokens],
        spec,
      )
      expect(twice.slice(40 * headDim)).toEqual(got)
    })

    test.each([
      { heads: 9, kvHeads: 3, headDim: 64 },
      { heads: 8, kvHeads: 4, headDim: 8 },
      { heads: 4, kvHeads: 4, headDim: 128 },
      { heads: 8, kvHeads: 1, headDim: 16 },
    ])('$heads heads on $kvHeads, dim $headDim', async (shape) => {
      await checkAttention(backend(), type, shape)
    })

    test('layers with their own number of KV heads lie end to end in a page', async () => {
      const layerKvHeads = [1, 4, 2]
      const pool = backend().kvPool({ type, layers: 3, kvHeads: 4, headDim: 16, layerKvHeads })
      const [untouched, page] = pool.add(2) as [number, number]
      const rope = { headDim: 16, theta: 10_000, pairs: 'half' } as const
      const parts: number[] = []
      for (const [layer, kvHeads] of layerKvHeads.entries()) {
        const alone = backend().kvPool({ type, layers: 1, kvHeads, headDim: 16 })
        const [own] = alone.add(1) as [number]
        const { tensor } = upload(backend(), random(seed + layer), 16, 2 * kvHeads * 16)
        const [k, v] = [
          backend().columns(tensor, 0, kvHeads * 16),
          backend().columns(tensor, kvHeads * 16, kvHeads * 16),
        ]
        backend().plan([{ start: 0, length: 16, past: 0, pages: [page] }], [rope])
        backend().writeKv(pool, layer, k, v)
        backend().plan([{ start: 0, length: 16, past: 0, pages: [own] }], [rope])
        backend().writeKv(alone, 0, k, v)
        parts.push(...(await alone.readPage(own)))
      }
      expect(pool.pageBytes).toBe(parts.length)
      expect(await pool.readPage(page)).toEqual(Uint8Array.from(parts))
      expect((await pool.readPage(untouched)).every((byte) => byte === 0)).toBe(true)
    })
  })
}
