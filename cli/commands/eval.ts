/** `foretoken eval`: compares a predictor's answers with exact ones and with cheaper methods. */
import { machine } from '../../bench/machine.ts'
import { qualityChart } from '../../bench/quality/chart.ts'
import { judgeQuality, type QualityRow } from '../../bench/quality/judge.ts'
import { suites } from '../../bench/quality/suites.ts'
import { defaultModel, ForetokenError } from '../../node/index.ts'
import { type Invocation, startSeed, UsageError } from '../parse.ts'
import { open, writeWhole } from '../session.ts'
import { columns, print, StatusLine } from '../terminal.ts'

export async function evaluate({ flags, operands }: Invocation, signal: AbortSignal): Promise<void> {
  if (operands.length > 0) throw new UsageError('eval takes no operands; use --suite to choose suites')
  const { suite = Object.keys(suites), lengths = [256, 1024], cases = 20, work = [] } = flags
  const seed = startSeed(flags)
  const shares = work.map((percent) => percent / 100)
  for (const name of suite)
    if (!Object.hasOwn(suites, name))
      throw new UsageError(`no suite ${name}; there are ${Object.keys(suites).join(', ')}`)
  const folder = flags.data?.[0] ?? process.env.FORETOKEN_DATA
  if (!folder)
    throw new ForetokenError('not_found', 'eval needs its data sets: set their folder with --data or FORETOKEN_DATA')
  const model = flags.base ?? flags.model ?? defaultModel
  const context = Math.max(...lengths) + 128
  const { engine } = await open({ prefill: 'predicted', ...flags, model }, signal, { context, prefixBytes: 0 })
  const line = new StatusLine()
  try {
    const onProgress = (text: string) => {
      signal.throwIfAborted()
      line.show(text)
    }
    const onRows = (rows: readonly QualityRow[]) => {
      line.clear()
      if (!flags.json) print(table(rows).join('\n'))
    }
    const results = await judgeQuality(engine, {
      suites: suite,
      lengths,
      shares,
      cases,
      seed,
      folder,
      onRows,
      onProgress,
    })
    line.clear()
    if (flags.plot) {
      const chart = qualityChart(results, { suite: suite[0]!, length: lengths.at(-1)! })
      await writeWhole(flags.plot, new TextEncoder().encode(chart))
    }
    const { plan, training } = engine.predictor!
    const head = { bench: 'eval', model, build: engine.backend.build, machine: machine(), seed, plan, training }
    if (flags.json) print(JSON.stringify({ ...head, results }))
  } finally {
    line.clear()
    await engine.close()
  }
}

function table(rows: readonly QualityRow[]): string[] {
  const head = 'suite,tokens,method,work,TTFT ms,KL,±,KL 9..,same token,same first,NLL,right,all right,chosen'.split(
    ',',
  )
  const cells = rows.map((row) => [
    row.suite,
    row.length,
    row.method,
    row.share,
    row.ttft_ms,
    row.kl,
    row.kl_error,
    row.kl_late,
    row.top1,
    row.first,
    row.nll,
    row.right ?? '',
    row.all_right ?? '',
    row.chosen ?? '',
  ])
  return columns([head, ...cells], 11)
}
