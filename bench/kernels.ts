/**
 * Times the kernels of several builds of the core against each other, in one process, for work on
 * them on a machine that may be busy.
 *
 *     node bench/kernels.ts [--rows 1,4,32,128] [--type q4_1] [--lowering 0|1|2] [--rounds 60]
 *                           [NAME.wasm ...]
 *
 * Builds take turns, product by product, in batches of about a millisecond, so that other work on
 * the machine hits some batches only, and the fastest tenth of their processor times shows the code.
 * A line gives that and the median, as GOP/s and as a share of the register-only rate of the build's own dot product,
 * which is measured in the same turns. The shapes are those of one layer of SmolLM2-135M.
 */

import { readFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { kernelsOf, kinds, tensorTypeIds } from '../src/backend/wasm/abi.ts'
import { Arena } from '../src/backend/wasm/arena.ts'
import { defined } from '../src/base/at.ts'
import { type TensorType, tensorBlocks } from '../src/base/model.ts'
import { cpuMs, quantile, sum } from './stats.ts'

/** (n, k) of a layer's products: q, k and v; output; gate and up; down. */
const shapes = [
  [960, 576],
  [576, 576],
  [3072, 576],
  [576, 1536],
] as const
const widest = 3072
const longest = 1536

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: 'string', default: '1,2,4,8,15,32,128,512' },
    type: { type: 'string', default: 'q4_1' },
    lowering: { type: 'string' },
    rounds: { type: 'string', default: '60' },
  },
})
const rounds = Number(values.rounds)
const type = values.type as TensorType
const files = positionals.length > 0 ? positionals : [new URL('../wasm/dist/relaxed.wasm', import.meta.url).pathname]
const builds = files.map((file) => prepare(file))
console.log(`${type}, ${rounds} rounds, load ${defined(loadavg()[0]).toFixed(1)}; GOP/s`)
for (const rows of values.rows.split(',').map(Number)) measure(rows)

/** Loads one build, with weights of a layer and activations in its memory. */
function prepare(file: string) {
  const memory = new WebAssembly.Memory({ initial: 17, maximum: 65_535 })
  const instance = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file)), { env: { memory } })
  const kernels = kernelsOf(instance.exports)
  const arena = new Arena(memory, Number(kernels.__heap_base.value))
  const scratch = kernels.scratch_bytes(longest, 64, 3)
  kernels.pool_set_scratch(arena.alloc(scratch, 'tables'), scratch)
  const found = kernels.probe()
  const lowering =
    values.lowering === undefined ? ((found & 2) !== 0 ? 1 : (found & 4) !== 0 ? 2 : 0) : Number(values.lowering)
  const kind = kernels.weight_kind(tensorTypeIds[type])
  const weights = shapes.map(([n, k]) => {
    const blocks = (n * k) / tensorBlocks[type].elements
    const bytes = blocks * tensorBlocks[type].bytes
    const from = arena.alloc(bytes, 'tables')
    // Any quants will do, but scales have to be small and finite.
    for (let i = 0; i < bytes; i++) arena.bytes[from + i] = (i * 2_654_435_761) >>> 13
    for (let block = 0; block < blocks; block++) {
      const at = from + block * tensorBlocks[type].bytes
      arena.bytes.set([0x12, 0x1c, 0x40, 0x98], type === 'q6_k' ? at + 206 : at)
    }
    const to = arena.alloc(kernels.weight_bytes(kind, n, k), 'weights')
    kernels.repack(tensorTypeIds[type], to, from, 0, n, n, k)
    return { n, k, at: to }
  })
  return { name: file.split('/').at(-1) ?? file, kernels, arena, lowering, kind, weights }
}

type Build = ReturnType<typeof prepare>

function measure(rows: number): void {
  const runs = builds.map((build) => {
    const { arena } = build
    const x = arena.alloc(rows * longest * 4, 'tables')
    const q = arena.alloc(rows * longest * 2, 'tables')
    const out = arena.alloc(rows * widest * 4, 'tables')
    for (let i = 0; i < rows * longest; i++) arena.floats[x / 4 + i] = Math.sin(i * 0.7) + Math.cos(i * 0.013)
    return {
      build,
      x,
      q,
      out,
      products: shapes.map((): number[] => []),
      quantising: shapes.map((): number[] => []),
      peaks: [] as number[],
    }
  })
  for (let round = -20; round < rounds; round++)
    for (const run of runs) {
      const { kernels, lowering, weights } = run.build
      const iterations = 20_000
      const peak = (iterations * kernels.peak_dot_ops()) / taken(() => kernels.peak_dot(iterations, lowering)) / 1e6
      if (round >= 0) run.peaks.push(peak)
      for (const [i, weight] of weights.entries()) {
        // About a millisecond: fewer outputs for many rows, several runs for few.
        const n = Math.min(weight.n, Math.ceil(8e6 / (weight.k * rows)) * 8)
        const repeats = Math.max(1, Math.round(6e7 / (n * weight.k * rows)))
        const quantising = taken(() => quantise(run, rows, weight.k))
        const ms = taken(() => {
          for (let repeat = 0; repeat < repeats; repeat++) multiply(run, rows, weight, n)
        })
        if (round < 0) continue
        defined(run.products[i]).push((ms / repeats / n) * weight.n)
        defined(run.quantising[i]).push(quantising)
      }
    }
  const work = shapes.reduce((sum, [n, k]) => sum + 2 * n * k * rows, 0) / 1e6
  for (const run of runs) {
    const at = (share: number) => {
      const ms = sum(run.products.map((samples) => quantile(samples, share)))
      const peak = quantile(run.peaks, 1 - share)
      return `${(work / ms).toFixed(1).padStart(6)} (${(work / ms / peak).toFixed(2)} of ${peak.toFixed(0)})`
    }
    const row = (sum(run.products.map((samples) => quantile(samples, 0.1))) * 1000) / rows
    const quantising = (sum(run.quantising.map((samples) => quantile(samples, 0.1))) * 1000) / rows
    console.log(
      `${String(rows).padStart(5)} rows  ${run.build.name.padEnd(20)} fast tenth ${at(0.1)}  median ${at(0.5)}  us a row ${row.toFixed(2)}, quantising ${quantising.toFixed(2)}`,
    )
    for (const at of [run.x, run.q, run.out]) run.build.arena.free(at)
  }
}

interface Run {
  readonly build: Build
  readonly x: number
  readonly q: number
  readonly out: number
}

function quantise({ build, x, q }: Run, rows: number, k: number): void {
  build.kernels.quantize_q8(q, q + rows * longest, q + rows * longest * 1.25, x, longest, rows, k)
}

function multiply({ build, q, out }: Run, rows: number, { k, at }: Build['weights'][number], n: number): void {
  const { kernels, kind, lowering } = build
  const [s, sums] = [q + rows * longest, q + rows * longest * 1.25]
  if (kind === kinds.u4) kernels.gemm_u4(out, n, q, s, sums, at, rows, n, k, 0, lowering)
  else kernels.gemm_i8(out, n, q, s, sums, at, rows, n, k, 0, kind, lowering)
}

function taken(work: () => void): number {
  const begun = cpuMs()
  work()
  return cpuMs() - begun
}
