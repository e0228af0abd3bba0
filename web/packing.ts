/** A list of prompts, read one by one, padded, and packed: what each takes in this tab. */
import { type Engine, ForetokenError } from '../src/index.ts'
import type { PackFigures } from './protocol.ts'

const most = 64

/** Throws `bad_argument` for no prompts or too many. */
export async function timedPacking(
  engine: Pick<Engine, 'tokenize' | 'prefillMany' | 'prefill' | 'context'>,
  prompts: readonly string[],
  signal: AbortSignal,
  onProgress: (done: number, total: number) => void,
): Promise<PackFigures> {
  if (prompts.length < 2 || prompts.length > most)
    throw new ForetokenError('bad_argument', `${prompts.length} prompts; give 2 to ${most}, one a line`)
  // A text of nothing known has no tokens, and would have no row.
  const ids = prompts
    .map((text) => engine.tokenize(text).slice(0, engine.context - 1))
    .filter(({ length }) => length > 0)
  if (ids.length < 2) throw new ForetokenError('bad_argument', 'fewer than two of these lines have any token')
  const longest = Math.max(...ids.map(({ length }) => length))
  // Rows that mean nothing are computed as others are: the padded batch is the same prompts, filled up.
  const padded = ids.map((own) => [...own, ...Array<number>(longest - own.length).fill(own[0]!)])
  const total = 3
  onProgress(0, total)
  const alone = await timed(async () => {
    for (const own of ids) (await engine.prefill(own, { signal })).release()
  })
  onProgress(1, total)
  const times: number[] = []
  for (const [index, batch] of [padded, ids].entries()) {
    times.push(
      await timed(async () => {
        for (const session of await engine.prefillMany(batch, { signal })) session.release()
      }),
    )
    onProgress(index + 2, total)
  }
  return { lengths: ids.map(({ length }) => length), alone, padded: times[0]!, packed: times[1]! }
}

async function timed(work: () => Promise<void>): Promise<number> {
  const begun = performance.now()
  await work()
  return performance.now() - begun
}
