/** `foretoken bench chunks`: times prompts whose documents are known against exact prefill. */
import { benchChunks, type ChunksRow } from '../../bench/chunks.ts'
import { machine } from '../../bench/machine.ts'
import { ForetokenError } from '../../node/index.ts'
import type { Flags } from '../flags.ts'
import { columns, print } from '../terminal.ts'
import { withRefining } from './refining.ts'

/** Context after the longest prompt, in tokens. */
const room = 160

export async function benchChunksCommand(flags: Flags, signal: AbortSignal): Promise<void> {
  const { lengths = [1500], runs } = flags
  const context = Math.max(...lengths) + room
  // Chunks need no predictor.
  const own: Flags = { ...flags, prefill: 'exact' }
  await withRefining(own, signal, { name: 'chunks', context }, async ({ model, engine, clear, onProgress }) => {
    const { build, threads } = engine.backend
    const results = await benchChunks(engine, { lengths, onProgress, ...(runs !== undefined && { runs }) })
    clear()
    if (flags.json) print(JSON.stringify({ bench: 'chunks', model, build, threads, machine: machine(), results }))
    else print([`${model} · ${build} · ${machine().cpu}`, ...table(results)].join('\n'))
    const wrong = results.reduce((sum, { answers, equal }) => sum + answers - equal, 0)
    if (wrong > 0) throw new ForetokenError('internal', `${wrong} corrected answers are not those of exact prefill`)
  })
}

function table(rows: readonly ChunksRow[]): string[] {
  const head = ['tokens', 'placed', 'answers', 'equal', 'departed', 'share', 'exact ms', 'placed ms', 'faster', 'work']
  const cells = rows.map(({ tokens, placed, answers, equal, departed, share, exactMs, placedMs, faster, work }) => [
    tokens,
    placed,
    answers,
    equal,
    departed,
    share,
    exactMs.median,
    placedMs.median,
    `${faster.median} (${faster.min}-${faster.max})`,
    work.median,
  ])
  return columns([head, ...cells], 12)
}
