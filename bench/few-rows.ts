/**
 * Times passes of few rows against passes of one, as several streams decode and as an answer is
 * verified, for work on the kernels.
 *
 *     node bench/few-rows.ts [--model smollm2-135m] [--rows 1,2,4,8,15] [--context 64] [--rounds 30]
 *                            [--one] [--scores all|last|none] [--parts] [NAME.wasm ...]
 *
 * Each row is a token of a sequence of its own, after `--context` others, or with `--one` they
 * follow each other in one sequence. Builds and numbers of rows take turns. A line gives the
 * processor time of a pass: the fastest tenth, the median, and how many times those of one row they
 * are. `--parts` says where the time goes, by method of the backend.
 */
import { readFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { modelFiles, pageTokens } from '../node/index.ts'
import type { Backend } from '../src/backend/backend.ts'
import { createWasmBackend } from '../src/backend/wasm/backend.ts'
import { defined } from '../src/base/at.ts'
import { PagedCache } from '../src/kv/paged.ts'
import { LoadedModel } from '../src/model/forward.ts'
import { openModel } from '../src/model/open.ts'
import { pack } from '../src/pack/pack.ts'
import { cpuMs, quantile, sum } from './stats.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: 'string', default: 'smollm2-135m' },
    rows: { type: 'string', default: '1,2,4,8,15' },
    context: { type: 'string', default: '64' },
    rounds: { type: 'string', default: '30' },
    one: { type: 'boolean', default: false },
    scores: { type: 'string', default: 'all' },
    parts: { type: 'boolean', default: false },
  },
})
const counts = values.rows.split(',').map(Number)
const [context, rounds] = [Number(values.context), Number(values.rounds)]
const built = new URL('../wasm/dist/relaxed.wasm', import.meta.url).pathname
const files = positionals.length > 0 ? positionals : [built]

/** Milliseconds spent in each method of a backend since it was last cleared. */
type Parts = Map<string, number>

/** Opens the model on one build, with a sequence of `context` tokens for each row. */
async function open(file: string) {
  const module = await WebAssembly.compile(readFileSync(file))
  const parts: Parts = new Map()
  const backend = timing(await createWasmBackend({ modules: { relaxed: module }, build: 'relaxed' }), parts)
  const source = await modelFiles(values.model)
  const options = { passTokens: Math.max(context, ...counts), logitRows: 4, kv: 'f32' } as const
  const model = await LoadedModel.load(backend, await openModel(source), options)
  await source.close()
  const most = Math.max(...counts)
  const cache = new PagedCache(model.pool, most * (Math.ceil((context + most) / pageTokens) + 1))
  const sequences = []
  for (let index = 0; index < (values.one ? 1 : most); index++) {
    const sequence = cache.open()
    const ids = Array.from({ length: context }, (_, i) => 100 + ((i * 37 + index * 101) % 20_000))
    await model.forward(pack([{ sequence, ids, outputs: 'none' }]))
    sequences.push(sequence)
  }
  return {
    name: file,
    model,
    sequences,
    parts,
    samples: counts.map((): number[] => []),
    split: counts.map(() => new Map() as Parts),
  }
}

type Build = Awaited<ReturnType<typeof open>>

/** Runs a pass of `rows` rows and takes it back. */
async function pass({ model, sequences }: Build, rows: number): Promise<void> {
  const ids = (index: number) => 300 + ((index * 271) % 20_000)
  const outputs = values.scores as 'all' | 'last' | 'none'
  const chunks = values.one
    ? [{ sequence: defined(sequences[0]), ids: Array.from({ length: rows }, (_, i) => ids(i)), outputs }]
    : sequences.slice(0, rows).map((sequence, i) => ({ sequence, ids: [ids(i)], outputs }))
  await model.scores(
    pack(chunks),
    Array.from({ length: rows }, () => 1),
  )
  for (const { sequence } of chunks) sequence.truncate(context)
}

const builds = [] as Build[]
for (const file of files) builds.push(await open(file))
for (let round = -5; round < rounds; round++)
  for (const [at, rows] of counts.entries())
    for (const build of builds) {
      build.parts.clear()
      const begun = cpuMs()
      await pass(build, rows)
      const ms = cpuMs() - begun
      if (round < 0) continue
      defined(build.samples[at]).push(ms)
      const split = defined(build.split[at])
      for (const [part, took] of build.parts) split.set(part, (split.get(part) ?? 0) + took / rounds)
    }
console.log(
  `${values.model}, ${context} tokens of context, ${rounds} rounds, load ${defined(loadavg()[0]).toFixed(1)}; ms of a pass`,
)
for (const build of builds)
  for (const [at, rows] of counts.entries()) {
    const of = (share: number) => {
      const ms = quantile(defined(build.samples[at]), share)
      return `${ms.toFixed(2).padStart(7)} (${(ms / quantile(defined(build.samples[0]), share)).toFixed(2)}x)`
    }
    console.log(
      `${String(rows).padStart(3)} rows  ${build.name.split('/').at(-1)}  fast tenth ${of(0.1)}  median ${of(0.5)}`,
    )
    if (!values.parts) continue
    const split = [...defined(build.split[at])].sort((a, b) => b[1] - a[1])
    const total = sum(split.map(([, ms]) => ms))
    console.log(
      `    ${split
        .slice(0, 12)
        .map(([part, ms]) => `${part} ${ms.toFixed(2)}`)
        .join(', ')}; in all ${total.toFixed(2)}`,
    )
  }
process.exit(0)

/** The same backend, which adds the time of each call to `parts`; products by their number of outputs. */
function timing(backend: Backend, parts: Parts): Backend {
  if (!values.parts) return backend
  return new Proxy(backend, {
    get(target, name) {
      const value = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        const begun = cpuMs()
        const result = Reflect.apply(value, target, args)
        const weights =
          name === 'matmul'
            ? (args[2] as { n: number; k: number }[])
            : name === 'matmulAdd'
              ? [args[2] as { n: number; k: number }]
              : []
        const label = String(name) + weights.map(({ n, k }) => ` ${n}x${k}`).join('')
        parts.set(label, (parts.get(label) ?? 0) + cpuMs() - begun)
        return result
      }
    },
  })
}
