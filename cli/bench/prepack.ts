/** `foretoken bench prepack`: packed against padded prefill. */
import { writeFile } from 'node:fs/promises'
import { loadPrompts } from '../../bench/datasets.ts'
import { machine } from '../../bench/machine.ts'
import { lineChart } from '../../bench/plot.ts'
import { benchPrepack, type PrepackRow, prepackRoom } from '../../bench/prepack.ts'
import { fileError } from '../../node/index.ts'
import type { Flags } from '../flags.ts'
import { open } from '../session.ts'
import { print, StatusLine } from '../terminal.ts'

/** Prompts that are ordered by length, at most; random batches are drawn among them. */
const poolSize = 1000

export async function benchPrepackCommand(flags: Flags, signal: AbortSignal): Promise<void> {
  const { dataset = 'lognormal-256-1', batch = [4, 16, 64], runs = 3, draws = 2, seed = 1 } = flags
  const mostTokens = flags['most-prompt'] ?? 1024
  const folder = flags.data ?? process.env.FORETOKEN_DATA
  // The tokenizer is the model's, and the room is the prompts': the model is opened twice, and once briefly.
  const probe = await open(flags, signal, { context: 256 })
  const prompts = await loadPrompts(probe.engine, dataset, { count: poolSize, seed, folder, mostTokens }).finally(() =>
    probe.engine.close(),
  )
  const room = prepackRoom(prompts, batch)
  const { model, engine } = await open({ kv: 'int8', ...flags }, signal, { ...room, prefixBytes: 0 })
  const line = new StatusLine()
  try {
    const results = await benchPrepack(engine, prompts, {
      batches: batch,
      runs,
      draws,
      seed,
      onProgress: (text) => {
        signal.throwIfAborted()
        line.show(`${dataset}  ${text}`)
      },
    })
    line.clear()
    const { build, threads } = engine.backend
    const head = { bench: 'prepack', model, build, threads, kv: flags.kv ?? 'int8', machine: machine() }
    if (flags.json) print(JSON.stringify({ ...head, dataset, seed, pool: prompts.length, results }))
    else print([`${model} · ${build} · ${machine().cpu} · ${dataset}`, ...table(results)].join('\n'))
    if (flags.plot !== undefined) await write(flags.plot, plot(results, `${dataset}, ${model}, ${build}`))
  } finally {
    line.clear()
    await engine.close()
  }
}

function table(rows: readonly PrepackRow[]): string[] {
  const head = [
    'batch',
    'tokens',
    'cv',
    'packed ms',
    'x padded',
    'predicted',
    'x sorted',
    'x single',
    'TTFT packed/padded',
  ]
  const cells = rows.map(({ batch, tokens, cv, ms, speedup, predicted_speedup, ttft_ms }) => [
    batch,
    tokens,
    cv,
    ms.packed,
    speedup.padded,
    predicted_speedup,
    speedup.sorted,
    speedup.single,
    `${Math.round(ttft_ms.packed.mean)} / ${Math.round(ttft_ms.padded.mean)}`,
  ])
  return [head, ...cells].map((row) => row.map((cell) => String(cell).padStart(11)).join(''))
}

function plot(rows: readonly PrepackRow[], subtitle: string): string {
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

export async function write(path: string, text: string): Promise<void> {
  await writeFile(path, text).catch((error) => {
    throw fileError(error, path)
  })
}
