/**
 * Measures TTFT on one machine with everything that can read a prompt there. Made for Macs, runs
 * anywhere. See bench/macos.md.
 *
 *     npm run bench:mac -- [--model MODEL] [--engines wasm,webgpu,remote,relay,llama.cpp,mlx-lm]
 *                          [--lengths 32,...,4096] [--runs 7] [--companion URL --key KEY]
 *                          [--mlx-model NAME] [--out FOLDER]
 *
 * Engines are opened one after the other, since they would share the memory and the GPU. For each,
 * the first token is compared with the Rust core's. Then TTFT is timed for each length and mode,
 * `runs` times after a warm-up, and eight prompts at once against one by one. Writes a record and
 * two charts.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { asForetokenError, defaultModel } from '../../node/index.ts'
import { defined } from '../../src/base/at.ts'
import { createRandom } from '../../src/decode/random.ts'
import { machine } from '../machine.ts'
import { lineChart } from '../plot.ts'
import { quantile, round, summary } from '../stats.ts'
import type { Contender, Mode } from '../ttft/contender.ts'
import { contenders } from '../ttft/contenders.ts'
import { paper } from './paper.ts'

const { values } = parseArgs({
  options: {
    model: { type: 'string', short: 'm', default: defaultModel },
    engines: { type: 'string', default: Object.keys(contenders).join(',') },
    lengths: { type: 'string', default: '32,64,128,256,512,1024,2048,4096' },
    runs: { type: 'string', default: '7' },
    companion: { type: 'string' },
    key: { type: 'string' },
    'mlx-model': { type: 'string', default: 'mlx-community/SmolLM2-135M-Instruct' },
    out: { type: 'string', default: 'bench-mac' },
  },
})
const lengths = values.lengths.split(',').map(Number)
const runs = Number(values.runs)
const wanted = values.engines.split(',')
const unknown = wanted.find((name) => !Object.hasOwn(contenders, name))
if (unknown !== undefined || !lengths.every((length) => length >= 1) || !(runs >= 1)) {
  console.error(`give --engines of ${Object.keys(contenders).join(', ')}, --lengths and --runs of 1 and more`)
  process.exit(2)
}

interface Row {
  readonly engine: string
  readonly mode: Mode
  readonly length: number
  readonly ttft_ms: { readonly p50: number; readonly p95: number }
  readonly cpu_ms?: number
  readonly samples: readonly number[]
  /** True if the first token was the Rust core's. */
  readonly agrees: boolean
}

interface PackedRow {
  readonly engine: string
  readonly prompts: number
  readonly tokens: number
  /** Time one by one divided by time all at once, by round. */
  readonly speedup: { readonly median: number; readonly min: number; readonly max: number }
}

const batch = [24, 37, 48, 64, 96, 130, 200, 310]
const rows: Row[] = []
const packed: PackedRow[] = []
const left: { readonly engine: string; readonly why: string }[] = []
/** First tokens of the Rust core, by length. */
const expected = new Map<number, number>()

for (const name of wanted)
  try {
    const contender = await defined(contenders[name])({
      model: values.model,
      context: Math.max(...lengths) + 64,
      companion: values.companion ? { url: values.companion, key: values.key ?? '' } : undefined,
      mlxModel: values['mlx-model'],
    })
    try {
      await measure(contender)
    } finally {
      await contender.close()
    }
  } catch (error) {
    const { message } = asForetokenError(error)
    left.push({ engine: name, why: message })
    say(`${name}: left out: ${message}\n`)
  }

const record = {
  bench: 'mac',
  model: values.model,
  machine: machine(),
  lengths,
  runs,
  rows,
  packed,
  left_out: left,
  paper,
}
mkdirSync(values.out, { recursive: true })
writeFileSync(join(values.out, 'record.json'), `${JSON.stringify(record)}\n`)
writeFileSync(join(values.out, 'ttft.svg'), ttftChart())
writeFileSync(join(values.out, 'sooner.svg'), soonerChart())
table()
say(`\n${join(values.out, 'record.json')}, ttft.svg, sooner.svg\n`)
// A GPU's instance would keep the process alive.
process.exit(rows.length === 0 ? 1 : 0)

async function measure(contender: Contender): Promise<void> {
  for (const length of lengths) {
    const prompt = promptOf(length)
    for (const mode of contender.modes) {
      const samples: number[] = []
      const cpu: number[] = []
      let id = -1
      for (let run = 0; run <= runs; run++) {
        say(`\r\x1b[K${contender.name}  ${length} ${mode}  ${run} of ${runs}`)
        const first = await contender.first(prompt, mode)
        if (mode === 'exact' && contender.name === 'wasm') expected.set(length, first.id)
        id = first.id
        // The first run warms up.
        if (run === 0) continue
        samples.push(round(first.ttft_ms, 5))
        if (first.cpu_ms !== undefined) cpu.push(first.cpu_ms)
      }
      rows.push({
        engine: contender.name,
        mode,
        length,
        ttft_ms: { p50: round(quantile(samples, 0.5), 4), p95: round(quantile(samples, 0.95), 4) },
        ...(cpu.length > 0 && { cpu_ms: round(quantile(cpu, 0.5), 4) }),
        samples,
        agrees: !expected.has(length) || expected.get(length) === id,
      })
    }
  }
  await together(contender)
  say('\r\x1b[K')
}

async function together(contender: Contender): Promise<void> {
  if (!contender.together) return
  const prompts = batch.map((length, at) => promptOf(length, at + 1))
  const ratios: number[] = []
  for (let run = 0; run <= runs; run++) {
    say(`\r\x1b[K${contender.name}  ${batch.length} prompts at once  ${run} of ${runs}`)
    const begun = performance.now()
    for (const prompt of prompts) await contender.first(prompt, 'exact')
    const alone = performance.now() - begun
    const all = await contender.together(prompts)
    if (run > 0) ratios.push(alone / all)
  }
  const { median, min, max } = summary(ratios)
  const tokens = batch.reduce((sum, length) => sum + length, 0)
  const speedup = { median: round(median, 3), min: round(min, 3), max: round(max, 3) }
  packed.push({ engine: contender.name, prompts: batch.length, tokens, speedup })
}

/** Returns meaningless ids, the same for every engine. */
function promptOf(length: number, seed = 0): number[] {
  const random = createRandom(1000 * length + seed)
  return Array.from({ length }, () => 1000 + Math.floor(random() * 20_000))
}

function ttftChart(): string {
  const names = [...new Set(rows.map(({ engine, mode }) => `${engine}${mode === 'exact' ? '' : `, ${mode}`}`))]
  return lineChart({
    title: 'Time to first token',
    subtitle: `${values.model}, ${machine().cpu}, median of ${runs}`,
    x: { label: 'tokens of the prompt', log: true, ticks: lengths },
    y: { label: 'milliseconds', log: true },
    series: names.map((name) => ({
      name,
      points: rows
        .filter(({ engine, mode }) => name === `${engine}${mode === 'exact' ? '' : `, ${mode}`}`)
        .map(({ length, ttft_ms }) => [length, ttft_ms.p50] as const),
    })),
  })
}

/** Draws speed-ups over exact: measured ones by length, and the paper's methods as levels. */
function soonerChart(): string {
  const engines = [...new Set(rows.filter(({ mode }) => mode === 'predicted').map(({ engine }) => engine))]
  const of = (engine: string, mode: Mode, length: number) =>
    rows.find((row) => row.engine === engine && row.mode === mode && row.length === length)?.ttft_ms.p50
  const ends = [Math.min(...lengths), Math.max(...lengths)]
  return lineChart({
    title: 'How much sooner predicted K and V bring the first token',
    subtitle: 'dashed: arXiv 2410.08391, OpenELM 1.1B on the CPU of an M2 Pro, 59 tokens, batch 64',
    x: { label: 'tokens of the prompt', log: true, ticks: lengths },
    y: { label: 'times sooner than exact' },
    series: [
      ...engines.map((engine) => ({
        name: `${engine}, predicted`,
        points: lengths.map(
          (length) =>
            [
              length,
              (of(engine, 'exact', length) ?? Number.NaN) / (of(engine, 'predicted', length) ?? Number.NaN),
            ] as const,
        ),
      })),
      ...paper
        .filter(({ method }) => method.startsWith('KVP'))
        .map(({ method, sooner }) => ({
          name: method,
          dashed: true,
          points: ends.map((length) => [length, sooner] as const),
        })),
    ],
  })
}

function table(): void {
  const head = ['engine', 'mode', ...lengths.map(String)]
  const lines = [...new Set(rows.map(({ engine, mode }) => `${engine}\t${mode}`))].map((name) => [
    ...name.split('\t'),
    ...lengths.map((length) => {
      const row = rows.find(({ engine, mode, length: tokens }) => `${engine}\t${mode}` === name && tokens === length)
      return row ? `${row.ttft_ms.p50}${row.agrees ? '' : ' *'}` : '-'
    }),
  ])
  const widths = head.map((_, column) => Math.max(...[head, ...lines].map((line) => defined(line[column]).length)))
  for (const line of [head, ...lines])
    console.log(line.map((cell, column) => cell.padEnd(defined(widths[column]))).join('  '))
  console.log('TTFT in ms, median; *: another first token than the Rust core’s')
  for (const { engine, prompts, tokens, speedup } of packed)
    console.log(
      `${engine}: ${prompts} prompts of ${tokens} tokens at once, ${speedup.median} times as fast as one by one`,
    )
}

function say(text: string): void {
  process.stderr.write(text)
}
