/** `foretoken bench modes`: compares TTFT of exact, predicted and refined prefill. */
import { machine } from '../../bench/machine.ts'
import { benchModes, type ModesRow } from '../../bench/modes.ts'
import type { Flags } from '../flags.ts'
import { columns, print } from '../terminal.ts'
import { withRefining } from './refining.ts'

/** Context after the longest prompt, in tokens, in which a cache can become exact. */
const room = 576

export async function benchModesCommand(flags: Flags, signal: AbortSignal): Promise<void> {
  const { lengths = [256, 512, 1024], runs } = flags
  const context = Math.max(...lengths) + room
  await withRefining(flags, signal, { name: 'modes', context }, async ({ model, engine, clear, onProgress }) => {
    const { build, threads } = engine.backend
    const results = await benchModes(engine, { lengths, onProgress, ...(runs !== undefined && { runs }) })
    clear()
    const { plan } = engine.predictor!
    if (flags.json) print(JSON.stringify({ bench: 'modes', model, build, threads, machine: machine(), plan, results }))
    else print([`${model} · ${build} · ${machine().cpu}`, ...table(results)].join('\n'))
  })
}

function table(rows: readonly ModesRow[]): string[] {
  const head = 'tokens,exact ms,predicted ms,speedup,formula,refined ms,exact from,total work,ITL p95,refining'.split(
    ',',
  )
  const cells = rows.map(({ length, ttft_ms, speedup, formula, exact_from, total_work, itl_ms }) => [
    length,
    ttft_ms.exact,
    ttft_ms.predicted,
    speedup.median,
    formula,
    ttft_ms.refined,
    exact_from,
    total_work.median,
    itl_ms.plain.p95,
    itl_ms.refining.p95,
  ])
  return columns([head, ...cells], 13)
}
