/** `foretoken bench verified`: counts departed answers, and compares corrected ones with exact ones. */
import { machine } from '../../bench/machine.ts'
import { benchVerified, type VerifiedRow } from '../../bench/verified.ts'
import { ForetokenError } from '../../node/index.ts'
import type { Flags } from '../flags.ts'
import { columns, print } from '../terminal.ts'
import { withRefining } from './refining.ts'

/** Context after the longest prompt, in tokens. */
const room = 96

export async function benchVerifiedCommand(flags: Flags, signal: AbortSignal): Promise<void> {
  const { lengths = [128, 256, 512], runs } = flags
  const context = Math.max(...lengths) + room
  await withRefining(flags, signal, { name: 'verified', context }, async ({ model, engine, clear, onProgress }) => {
    const { build, threads } = engine.backend
    const results = await benchVerified(engine, { lengths, onProgress, ...(runs !== undefined && { runs }) })
    clear()
    if (flags.json) print(JSON.stringify({ bench: 'verified', model, build, threads, machine: machine(), results }))
    else print([`${model} · ${build} · ${machine().cpu}`, ...table(results)].join('\n'))
    const wrong = results.reduce((sum, { answers, equal }) => sum + answers - equal, 0)
    if (wrong > 0) throw new ForetokenError('internal', `${wrong} corrected answers are not those of exact prefill`)
  })
}

function table(rows: readonly VerifiedRow[]): string[] {
  const head = ['tokens', 'mode', 'answers', 'equal', 'departed', 'exact', 'rows', 'cpu', 'first cpu']
  const cells = rows.map(({ length, mode, answers, equal, departed, exact, rows, work, first }) => [
    length,
    mode,
    answers,
    equal,
    departed,
    exact,
    rows.median,
    work.median,
    first.median,
  ])
  return columns([head, ...cells], 11)
}
