/**
 * Measures products of the WebGPU backend by rows, with and without the device's features beyond
 * core WebGPU, in turns. The builds are verified against each other first.
 *
 *     npm run bench:webgpu -- [--shapes 576x1536,2048x8192] [--rows 1,32,128,512,2048] [--type q4_1]
 *                             [--turns 7] [--json]
 *
 * A turn records enough products to take a while, submits them, and waits for the last, so a time
 * is the GPU's plus a share of one submit. Shapes are KxN. $FORETOKEN_VULKAN=own selects the
 * machine's own GPU instead of a Vulkan in software.
 */

import { parseArgs } from 'node:util'
import { openWebGpu } from '../node/webgpu.ts'
import { vulkan } from '../scripts/chromium.mjs'
import type { Backend, Tensor, Weight } from '../src/backend/backend.ts'
import type { FeatureName } from '../src/backend/webgpu/features.ts'
import { defined } from '../src/base/at.ts'
import type { TensorType } from '../src/base/model.ts'
import { randomBlocks, written } from '../test/helpers/blocks.ts'
import { random } from '../test/helpers/random.ts'
import { machine } from './machine.ts'
import { round, type Summary, summary } from './stats.ts'

const { values } = parseArgs({
  options: {
    shapes: { type: 'string', default: '576x1536,2048x8192' },
    rows: { type: 'string', default: '1,32,128,512,2048' },
    type: { type: 'string', default: 'q4_1' },
    turns: { type: 'string', default: '7' },
    seed: { type: 'string', default: '20261127' },
    json: { type: 'boolean', default: false },
  },
})
Object.assign(process.env, vulkan())
const type = values.type as TensorType
const seed = Number(values.seed)

interface Contender {
  readonly backend: Backend
  readonly x: Tensor
  readonly out: Tensor
  readonly weight: Weight
}

/** Fewer features each time. A device that lacks one gives the same build twice. */
const kinds: readonly (readonly FeatureName[])[] = [[], ['matrix'], ['matrix', 'f16'], ['matrix', 'f16', 'subgroups']]
const opened = new Map<string, Backend>()
for (const without of kinds) {
  const backend = await openWebGpu(without)
  if (opened.has(backend.build)) await backend.close()
  else opened.set(backend.build, backend)
}

interface Row {
  readonly build: string
  readonly type: TensorType
  readonly k: number
  readonly n: number
  readonly rows: number
  /** Number of products in a submit. */
  readonly repeats: number
  readonly ms: Summary
  readonly gflops: number
  /** Largest difference between builds, relative to the size of the numbers. */
  readonly off_by: number
}

const rows: Row[] = []
for (const shape of values.shapes.split(',')) {
  const [k, n] = shape.split('x').map(Number) as [number, number]
  const bytes = randomBlocks(type, n * k, random(seed))
  const weights = new Map(
    [...opened].map(([build, backend]) => [build, written(backend.weight({ name: shape, type, n, k }), bytes)]),
  )
  for (const count of values.rows.split(',').map(Number)) {
    const x = random(seed + count).floats(count * k)
    const contenders = new Map(
      [...opened].map(([build, backend]) => [build, contender(backend, defined(weights.get(build)), x, count)]),
    )
    const off = await farthest([...contenders.values()], count)
    for (const one of contenders.values()) await timed(one, count, 1)
    // Enough for about 20 ms, by the first build.
    const [first] = contenders.values()
    const repeats = Math.max(1, Math.min(200, Math.round(20 / (await timed(defined(first), count, 4)))))
    const samples = new Map([...contenders.keys()].map((build) => [build, [] as number[]]))
    for (let turn = 0; turn < Number(values.turns); turn++)
      for (const [build, one] of contenders) defined(samples.get(build)).push(await timed(one, count, repeats))
    for (const [build, ms] of samples) {
      const spread = summary(ms)
      const gflops = round((2 * k * n * count) / spread.median / 1e6, 4)
      rows.push({ build, type, k, n, rows: count, repeats, ms: spread, gflops, off_by: off })
    }
  }
}
const record = { bench: 'webgpu', machine: machine(), seed, rows }
console.log(values.json ? JSON.stringify(record, undefined, 1) : table())
// Dawn's instance would keep the process alive.
process.exit(0)

function contender(backend: Backend, weight: Weight, values: Float32Array, count: number): Contender {
  const x = backend.tensor(count, weight.k)
  backend.write(x, 0, values)
  return { backend, weight, x, out: backend.tensor(count, weight.n) }
}

/** Returns the milliseconds of a product, from `repeats` in one submit. */
async function timed({ backend, weight, x, out }: Contender, count: number, repeats: number): Promise<number> {
  const begun = performance.now()
  for (let i = 0; i < repeats; i++) backend.matmul(out, x, [weight], count)
  await backend.read(backend.columns(out, 0, 1), 1)
  return (performance.now() - begun) / repeats
}

/**
 * Returns the largest difference from the plainest build, divided by the root mean square of its
 * numbers. Throws if it is more than f16 explains.
 */
async function farthest(contenders: readonly Contender[], count: number): Promise<number> {
  const outs: Float32Array[] = []
  for (const { backend, weight, x, out } of contenders) {
    backend.matmul(out, x, [weight], count)
    outs.push(await backend.read(out, count))
  }
  const plain = defined(outs.at(-1))
  const size = Math.sqrt(plain.reduce((sum, value) => sum + value * value, 0) / plain.length)
  const most = Math.max(
    ...outs.map((out) => out.reduce((far, value, i) => Math.max(far, Math.abs(value - defined(plain[i]))), 0)),
  )
  if (!(most / size < 0.01)) throw new Error(`products differ by ${most / size} of their size`)
  return Number((most / size).toPrecision(2))
}

function table(): string {
  const lines = rows.map(({ build, k, n, rows: count, ms, gflops }) => {
    const shape = `${k}x${n}`.padEnd(12)
    return `${shape}${String(count).padStart(6)} rows${ms.median.toFixed(4).padStart(12)} ms${String(gflops).padStart(10)} GFLOP/s  ${build}`
  })
  return lines.join('\n')
}
