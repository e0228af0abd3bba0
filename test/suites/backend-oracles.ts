/** Inputs, oracles and bounds of the suite for backends. */
import { expect } from 'vitest'
import type { Backend, Tensor, Weight } from '../../src/backend/backend.ts'
import { type KvType, pageTokens } from '../../src/base/kv.ts'
import { type AttentionSpec, type RopeSpec, type TensorType, tensorBlocks } from '../../src/base/model.ts'
import type { Segment } from '../../src/base/pass.ts'
import { dequantize, randomBlocks, written } from '../helpers/blocks.ts'
import { type Random, random } from '../helpers/random.ts'
import { seed } from '../helpers/seed.ts'

export { seed }

export const eps = 2 ** -24

export const quantTypes = Object.keys(tensorBlocks) as TensorType[]

export interface BackendTraits {
  /** Type of activations in products with quantised weights. */
  readonly activations: 'int8' | 'f32'
}

/**
 * Compares three sequences of different lengths in one pass and in two passes, with RoPE, with
 * attention by its definition.
 */
export async function checkAttention(
  backend: Backend,
  type: KvType,
  shape: { heads: number; kvHeads: number; headDim: number },
  { window, softCap, turned, amplitude }: Partial<AttentionSpec & RopeSpec> = {},
) {
  const { heads, kvHeads, headDim } = shape
  const rng = random(seed + headDim)
  const pool = backend.kvPool({ type, layers: 2, kvHeads, headDim })
  const all = pool.add(24)
  const rope: RopeSpec = {
    headDim,
    theta: 10_000,
    pairs: headDim === 64 ? 'adjacent' : 'half',
    ...(turned && { turned }),
    ...(amplitude && { amplitude }),
  }
  const width = (heads + 2 * kvHeads) * headDim
  const first = [37, 1, 16]
  const second = [5, 19, 1]
  const pages = [
    [3, 9, 1],
    [20, 2],
    [7, 8],
  ]
  const stored: { k: number[][]; v: number[][] }[] = first.map(() => ({ k: [], v: [] }))
  let past = [0, 0, 0]
  for (const lengths of [first, second]) {
    let start = 0
    const segments: Segment[] = lengths.map((length, i) => {
      // In the second pass, 40 tokens before the first sequence's were left out of its cache.
      const left = lengths === second && i === 0 ? { position: past[i]! + 40 } : {}
      const segment = { start, length, past: past[i]!, pages: pages[i]!.map((page) => all[page]!), ...left }
      start += length
      return segment
    })
    const x = upload(backend, rng, start, width)
    const q = backend.columns(x.tensor, 0, heads * headDim)
    const k = backend.columns(x.tensor, heads * headDim, kvHeads * headDim)
    const v = backend.columns(x.tensor, (heads + kvHeads) * headDim, kvHeads * headDim)
    backend.plan(segments, [rope])
    backend.rope(q, 0)
    backend.rope(k, 0)
    backend.writeKv(pool, 1, k, v)
    const out = backend.tensor(start, heads * headDim)
    backend.attention(out, q, pool, 1, {
      scale: 1 / Math.sqrt(headDim),
      ...(window && { window }),
      ...(softCap && { softCap }),
    })
    const got = await backend.read(out, start)
    segments.forEach((segment, i) => {
      for (let row = segment.start; row < segment.start + segment.length; row++) {
        const position = (segment.position ?? segment.past) + row - segment.start
        const head = (h: number) =>
          Array.from(x.values.subarray(row * width + h * headDim, row * width + (h + 1) * headDim))
        const turned = (h: number) => rotate(head(h), position, rope)
        stored[i]!.k.push(Array.from({ length: kvHeads }, (_, h) => turned(heads + h)).flat())
        stored[i]!.v.push(Array.from({ length: kvHeads }, (_, h) => head(heads + kvHeads + h)).flat())
        for (let h = 0; h < heads; h++) {
          const kv = Math.floor((h * kvHeads) / heads)
          const want = attend(turned(h), lastOf(stored[i]!, window), kv, headDim, softCap)
          for (let d = 0; d < headDim; d++)
            expectNear(
              got[(row * heads + h) * headDim + d]!,
              want[d]!,
              kvBound[type],
              `segment ${i} row ${row} head ${h} dim ${d}`,
            )
        }
      }
    })
    past = past.map((had, i) => had + lengths[i]!)
  }
  const page = await pool.readPage(all[3]!)
  pool.writePage(all[11]!, page)
  expect(await pool.readPage(all[11]!)).toEqual(page)
  expect(pageTokens).toBe(16)
}

/**
 * Bounds for values of about 1. f32: rounding of scores of up to 128 terms. f16: half a step of
 * 2^-11 in K moves a score by about 2^-11 x sqrt(dim) / sqrt(dim), in V by 2^-11 x 4. int8: a step
 * is absmax / 127, about 4 / 127.
 */
const kvBound: Record<KvType, number> = { f32: 2e-5, f16: 6e-3, int8: 1.2e-1 }

/** Returns the keys and values inside a window. */
function lastOf({ k, v }: { k: number[][]; v: number[][] }, window = k.length) {
  return { k: k.slice(-window), v: v.slice(-window) }
}

function attend(q: number[], stored: { k: number[][]; v: number[][] }, kv: number, dim: number, cap?: number) {
  const scores = stored.k
    .map((key) => q.reduce((sum, value, d) => sum + value * key[kv * dim + d]!, 0) / Math.sqrt(dim))
    .map((score) => (cap ? cap * Math.tanh(score / cap) : score))
  const top = Math.max(...scores)
  const weights = scores.map((score) => Math.exp(score - top))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  return Array.from({ length: dim }, (_, d) =>
    weights.reduce((sum, weight, token) => sum + (weight / total) * stored.v[token]![kv * dim + d]!, 0),
  )
}

function rotate(head: number[], position: number, rope: RopeSpec): number[] {
  const out = [...head]
  const { turned = head.length, amplitude = 1 } = rope
  const half = turned / 2
  for (let f = 0; f < half; f++) {
    const angle = position * rope.theta ** ((-2 * f) / turned)
    const [a, b] = rope.pairs === 'half' ? [f, f + half] : [2 * f, 2 * f + 1]
    out[a] = amplitude * (head[a]! * Math.cos(angle) - head[b]! * Math.sin(angle))
    out[b] = amplitude * (head[a]! * Math.sin(angle) + head[b]! * Math.cos(angle))
  }
  return out
}

export function norm(values: Float32Array, weight: Float32Array, cols: number, epsilon: number): Float64Array {
  const out = new Float64Array(values.length)
  for (let row = 0; row < values.length; row += cols) {
    let sum = 0
    for (let i = 0; i < cols; i++) sum += values[row + i]! ** 2
    for (let i = 0; i < cols; i++) out[row + i] = (values[row + i]! / Math.sqrt(sum / cols + epsilon)) * weight[i]!
  }
  return out
}

/**
 * Multiplies a row by a weight row as the kernels define it: activations in int8 per 32 where the
 * weight is quantised, or unchanged.
 */
export function product(
  x: Float32Array,
  w: Float64Array,
  k: number,
  type: TensorType,
  activations: BackendTraits['activations'],
): { want: number; bound: number } {
  const plain = tensorBlocks[type].elements === 1 || activations === 'f32'
  let want = 0
  let size = 0
  let flip = 0
  for (let block = 0; block < k; block += 32) {
    let top = 0
    for (let i = block; i < block + 32; i++) top = Math.max(top, Math.abs(x[i]!))
    const step = top / 127
    for (let i = block; i < block + 32; i++) {
      const value = plain ? x[i]! : Math.round(x[i]! / step) * step
      want += value * w[i]!
      size += Math.abs(value) * (Math.abs(w[i]!) + scaleError(type, w[i]!) / eps)
      flip = Math.max(flip, step * Math.abs(w[i]!))
    }
  }
  // A quotient that lies on a tie may round either way: the bound allows for one.
  return { want, bound: (k + 8) * eps * size + (plain ? 0 : flip) }
}

/**
 * Returns the error of a weight by its scale. Scales that are products are stored in binary16, so
 * weights may be off by 2^-11 of their two parts. A q2_k may be stored in int8: off by half of 1/127
 * of the largest number that its blocks stand for, 15 times the least and the scales of
 * `randomBlocks`.
 */
export function scaleError(type: TensorType, weight: number): number {
  if (type === 'q2_k') return ((15 * 1.2 * (3 * 0.004 + 0.008)) / 254) * (1 + 2 ** -10)
  return /^(q[3456]_k|iq4_xs)$/.test(type) ? 2 ** -11 * (Math.abs(weight) + 0.5) : eps * Math.abs(weight)
}

export function makeWeight(
  backend: Backend,
  rng: Random,
  type: TensorType,
  n: number,
  k: number,
): { weight: Weight; values: Float64Array } {
  const bytes = randomBlocks(type, n * k, rng)
  const writer = backend.weight({ name: `${type} ${n}x${k}`, type, n, k })
  const weight = written(writer, bytes, () => 1 + rng.below(5000))
  return { weight, values: dequantize(type, bytes) }
}

/**
 * Uploads a tensor of normal numbers. Only `vector` uploads, so a (rows, cols) tensor is read
 * through an f32 embedding.
 */
export function upload(backend: Backend, rng: Random, rows: number, cols: number, values = rng.floats(rows * cols)) {
  const writer = backend.weight({ name: 'upload', type: 'f32', n: rows, k: cols })
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  const tensor: Tensor = backend.tensor(rows, cols)
  backend.embed(
    tensor,
    written(writer, bytes),
    Array.from({ length: rows }, (_, row) => row),
  )
  return { tensor, values }
}

export function expectNear(got: number, want: number, bound: number, what: string): void {
  if (!(Math.abs(got - want) <= bound)) expect.fail(`${what}: got ${got}, want ${want} within ${bound} (seed ${seed})`)
}
