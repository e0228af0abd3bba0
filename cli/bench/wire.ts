/** `foretoken bench wire`: measures the rate and distortion of each codec of K and V. */
import { machine } from '../../bench/machine.ts'
import { lineChart } from '../../bench/plot.ts'
import { suites } from '../../bench/quality/suites.ts'
import { benchWire, type WireRow } from '../../bench/wire.ts'
import { defaultModel, ForetokenError } from '../../node/index.ts'
import type { Flags } from '../flags.ts'
import { startSeed, UsageError } from '../parse.ts'
import { open, writeWhole } from '../session.ts'
import { columns, print, StatusLine } from '../terminal.ts'

export async function benchWireCommand(flags: Flags, signal: AbortSignal): Promise<void> {
  const { suite = ['lm'], lengths = [512], cases = 10 } = flags
  const seed = startSeed(flags)
  for (const name of suite)
    if (!Object.hasOwn(suites, name))
      throw new UsageError(`no suite ${name}; there are ${Object.keys(suites).join(', ')}`)
  const folder = flags.data?.[0] ?? process.env.FORETOKEN_DATA
  if (!folder)
    throw new ForetokenError(
      'not_found',
      'bench wire needs its data sets: set their folder with --data or FORETOKEN_DATA',
    )
  const context = Math.max(...lengths) + 128
  // Exact, predicted and received pages of a prompt exist at the same time.
  const needed = { context, prefixBytes: 0, kvTokens: 4 * context }
  const settings = { prefill: 'predicted' as const, threads: 1, ...flags, model: flags.model ?? defaultModel }
  const { model, engine } = await open(settings, signal, needed)
  const line = new StatusLine()
  try {
    const onProgress = (text: string) => {
      signal.throwIfAborted()
      line.show(`wire  ${text}`)
    }
    const onRows = (rows: readonly WireRow[]) => {
      line.clear()
      if (!flags.json) print(table(rows).join('\n'))
    }
    const results = await benchWire(engine, { suites: suite, lengths, cases, seed, folder, onRows, onProgress })
    line.clear()
    if (flags.plot) await writeWhole(flags.plot, new TextEncoder().encode(chartOf(results)))
    const { build, threads } = engine.backend
    const head = { bench: 'wire', model, build, threads, kv: flags.kv ?? 'f32', machine: machine(), seed }
    if (flags.json) print(JSON.stringify({ ...head, plan: engine.predictor!.plan, results }))
  } finally {
    line.clear()
    await engine.close()
  }
}

function table(rows: readonly WireRow[]): string[] {
  const head = 'suite,tokens,codec,coarseness,B/token,KL,±,same token,encode MB/s,decode MB/s,decode f16 MB/s'.split(
    ',',
  )
  const cells = rows.map((row) => [
    row.suite,
    row.length,
    row.codec,
    row.coarseness ?? '',
    row.bytes_per_token,
    row.kl,
    row.kl_error,
    row.top1,
    row.encode_mb_s,
    row.decode_mb_s,
    row.decode_f16_mb_s,
  ])
  return columns([head, ...cells], 16)
}

function chartOf(rows: readonly WireRow[]): string {
  const { suite, length } = rows[0]!
  const shown = rows.filter((row) => row.suite === suite && row.length === length && row.kl > 0)
  const of = (name: string, which: (row: WireRow) => boolean) => ({
    name,
    points: shown.filter(which).map(({ bytes_per_token, kl }) => [bytes_per_token, kl] as const),
  })
  return lineChart({
    title: 'K and V on the wire',
    subtitle: `${suite}, prompts of ${length} tokens: distance of the continuation from exact`,
    x: { label: 'bytes per token', log: true },
    y: { label: 'KL, nats', log: true },
    series: [
      of('f16, int8, int4', ({ codec }) => codec !== 'residual'),
      of('predicted + residual', ({ codec }) => codec === 'residual'),
    ],
  })
}
