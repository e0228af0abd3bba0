/** `foretoken bench prepack`: compares packed with padded prefill. */
import { loadPrompts } from '../../bench/datasets.ts'
import { machine } from '../../bench/machine.ts'
import { lineChart } from '../../bench/plot.ts'
import { benchPrepack, type PrepackRow, prepackRoom } from '../../bench/prepack.ts'
import type { Flags } from '../flags.ts'
import { startSeed } from '../parse.ts'
import { open, writeWhole } from '../session.ts'
import { columns, print, StatusLine } from '../terminal.ts'

/** Maximum number of prompts that are sorted by length; random batches are drawn from them. */
const poolSize = 1000

export async function benchPrepackCommand(flags: Flags, signal: AbortSignal): Promise<void> {
  const { dataset = ['lognormal-256-1'] } = flags
  const seed = startSeed(flags)
  const results: SetRow[] = []
  let about = {}
  let heading = ''
  for (const name of dataset) {
    const { model, build, threads, pool, rows } = await benchSet(name, flags, seed, signal)
    about = { model, build, threads }
    heading = `${model}, ${build}`
    results.push(...rows.map((row) => ({ dataset: name, pool, ...row })))
  }
  const head = { bench: 'prepack', ...about, kv: flags.kv ?? 'int8', machine: machine(), seed }
  if (flags.json) print(JSON.stringify({ ...head, results }))
  else print([`${heading} · ${machine().cpu}`, ...table(results), ...predictedLines(results)].join('\n'))
  const { plot } = flags
  if (plot === undefined) return
  const svg = dataset.length === 1 ? againstBatch(results, `${dataset[0]}, ${heading}`) : againstCv(results, heading)
  await write(plot, svg)
}

/** A row of results with the data set of its prompts. */
type SetRow = PrepackRow & { readonly dataset: string; readonly pool: number }

async function benchSet(name: string, flags: Flags, seed: number, signal: AbortSignal) {
  const { batch = [4, 16, 64], runs = 3, draws = 2 } = flags
  const mostTokens = flags['most-prompt'] ?? 1024
  const folder = flags.data?.[0] ?? process.env.FORETOKEN_DATA
  // The first, short-lived engine only tokenizes: the KV size depends on the prompts' lengths.
  const probe = await open(flags, signal, { prefixBytes: 0 })
  const prompts = await loadPrompts(probe.engine, name, { count: poolSize, seed, folder, mostTokens }).finally(() =>
    probe.engine.close(),
  )
  const room = prepackRoom(prompts, batch)
  const { model, engine } = await open({ kv: 'int8', ...flags }, signal, { ...room, prefixBytes: 0 })
  const line = new StatusLine()
  try {
    const rows = await benchPrepack(engine, prompts, {
      batches: batch,
      runs,
      draws,
      seed,
      onProgress: (text) => {
        signal.throwIfAborted()
        line.show(`${name}  ${text}`)
      },
    })
    const { build, threads } = engine.backend
    return { model, build, threads, pool: prompts.length, rows }
  } finally {
    line.clear()
    await engine.close()
  }
}

function table(rows: readonly SetRow[]): string[] {
  const head = ['batch', 'tokens', 'cv', 'packed ms', 'x padded', 'predicted', 'x sorted', 'x single', 'TTFT packed']
  const cells = rows.map(({ batch, tokens, cv, ms, speedup, predicted_speedup, ttft_ms }) => [
    batch,
    tokens,
    cv,
    ms.packed,
    speedup.padded,
    predicted_speedup,
    speedup.sorted,
    speedup.single,
    `${Math.round(ttft_ms.packed.mean)} of ${Math.round(ttft_ms.padded.mean)}`,
  ])
  const wide = Math.max(...rows.map(({ dataset }) => dataset.length))
  return columns([head, ...cells], 12).map((row, at) => (rows[at - 1]?.dataset ?? '').padEnd(wide) + row)
}

function predictedLines(rows: readonly SetRow[]): string[] {
  return rows.flatMap(({ dataset, batch, predicted }) => {
    if (!predicted) return []
    const { alone, together, of_product } = predicted
    return [
      `${dataset}, ${batch}: predicted ${alone.median} x one by one; packed and predicted ${together.median} x padded, ` +
        `${of_product} of the product`,
    ]
  })
}

function againstBatch(rows: readonly SetRow[], subtitle: string): string {
  const line = (name: string, of: (row: PrepackRow) => number) => ({
    name,
    points: rows.map((row) => [row.batch, of(row)] as const),
  })
  return lineChart({
    title: 'Packed prefill, times as fast as',
    subtitle,
    x: { label: 'prompts in a batch', log: true, ticks: rows.map(({ batch }) => batch) },
    y: { label: 'speedup' },
    series: [
      line('padded', ({ speedup }) => speedup.padded),
      line('ordered, padded', ({ speedup }) => speedup.sorted),
      line('one by one', ({ speedup }) => speedup.single),
      { ...line('predicted', ({ predicted_speedup }) => predicted_speedup), dashed: true },
    ],
  })
}

/** Returns a chart with a point for each data set and batch size, and a line for each size. */
function againstCv(rows: readonly SetRow[], subtitle: string): string {
  const byCv = [...rows].sort((a, b) => a.cv - b.cv)
  const line = (batch: number, name: string, of: (row: PrepackRow) => number) => ({
    name,
    points: byCv.filter((row) => row.batch === batch).map((row) => [row.cv, of(row)] as const),
  })
  const batches = [...new Set(rows.map(({ batch }) => batch))]
  return lineChart({
    title: 'Packed prefill, times as fast as padded',
    subtitle,
    x: { label: 'deviation of prompt lengths by their mean (CV)' },
    y: { label: 'speedup' },
    series: [
      ...batches.map((batch) => line(batch, `${batch} prompts`, ({ speedup }) => speedup.padded)),
      line(batches.at(-1)!, `${batches.at(-1)}, ordered first`, ({ speedup }) => speedup.sorted),
    ],
  })
}

export async function write(path: string, text: string): Promise<void> {
  await writeWhole(path, new TextEncoder().encode(text))
}
