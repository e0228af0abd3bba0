/** `foretoken bench verified`: counts departed answers, and compares corrected ones with exact ones. */
import { machine } from '../../bench/machine.ts'
import { benchVerified, type VerifiedRow } from '../../bench/verified.ts'
import { ForetokenError } from '../../node/index.ts'
import type { Flags } from '../flags.ts'
import { open } from '../session.ts'
import { columns, print, StatusLine } from '../terminal.ts'

/** Context after the longest prompt, in tokens. */
const room = 96

export async function benchVerifiedCommand(flags: Flags, signal: AbortSignal): Promise<void> {
  const { lengths = [128, 256, 512], runs } = flags
  const needed = { context: Math.max(...lengths) + room, prefixBytes: 0 }
  const { model, engine } = await open({ prefill: 'refined', ...flags }, signal, needed)
  const line = new StatusLine()
  try {
    const { build, threads } = engine.backend
    const onProgress = (done: number, total: number) => {
      signal.throwIfAborted()
      line.show(`verified  ${done} of ${total} answers`)
    }
    const results = await benchVerified(engine, { lengths, onProgress, ...(runs !== undefined && { runs }) })
    line.clear()
    if (flags.json) print(JSON.stringify({ bench: 'verified', model, build, threads, machine: machine(), results }))
    else print([`${model} · ${build} · ${machine().cpu}`, ...table(results)].join('\n'))
    const wrong = results.reduce((sum, { answers, equal }) => sum + answers - equal, 0)
    if (wrong > 0) throw new ForetokenError('internal', `${wrong} corrected answers are not those of exact prefill`)
  } finally {
    line.clear()
    await engine.close()
  }
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
