/** Times prefill of a list of prompts in this tab: one by one, padded, and packed. */
import { ForetokenError } from '../src/base/errors.ts'
import type { Engine } from '../src/index.ts'
import type { PackFigures } from './protocol.ts'

const most = 64

/** Measures the three ways. Rejects with `bad_argument` for fewer than 2 prompts or too many. */
export async function timedPacking(
  engine: Pick<Engine, 'tokenize' | 'prefillMany' | 'prefill' | 'context'>,
  prompts: readonly string[],
  signal: AbortSignal,
  onProgress: (done: number, total: number) => void,
): Promise<PackFigures> {
  if (prompts.length < 2 || prompts.length > most)
    throw new ForetokenError('bad_argument', `${prompts.length} prompts; give 2 to ${most}, one per line`)
  // A text may have no tokens, and so no row.
  const ids = prompts
    .map((text) => engine.tokenize(text).slice(0, engine.context - 1))
    .filter(({ length }) => length > 0)
  if (ids.length < 2) throw new ForetokenError('bad_argument', 'fewer than two of these lines have any token')
  const longest = Math.max(...ids.map(({ length }) => length))
  // Padding rows are computed like all others, so the padded batch consists of the same prompts,
  // extended.
  const padded = ids.map((row) => [...row, ...Array<number>(longest - row.length).fill(row.at(0) ?? 0)])
  const total = 3
  onProgress(0, total)
  const alone = await timed(async () => {
    for (const row of ids) (await engine.prefill(row, { signal })).release()
  })
  onProgress(1, total)
  const together = (batch: number[][]) =>
    timed(async () => {
      for (const session of await engine.prefillMany(batch, { signal })) session.release()
    })
  const paddedMs = await together(padded)
  onProgress(2, total)
  const packed = await together(ids)
  onProgress(3, total)
  return { lengths: ids.map(({ length }) => length), alone, padded: paddedMs, packed }
}

async function timed(work: () => Promise<void>): Promise<number> {
  const begun = performance.now()
  await work()
  return performance.now() - begun
}
