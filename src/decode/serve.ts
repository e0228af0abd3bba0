/** Hands out what a pass computed: by the plan that it was made from, whatever has become of its requests since. */
import type { Scores } from '../backend/backend.ts'
import { asForetokenError, type ForetokenError } from '../base/errors.ts'
import { nextTurn } from '../base/turn.ts'
import type { PrefixIndex } from '../kv/prefix.ts'
import type { PassPlan, PlannedShare } from './plan.ts'
import type { Task } from './task.ts'

/** Scores that are read between two turns of the host's event loop, at most: about a score of rows of a large vocabulary. */
const mostScores = 1 << 20

/** Milliseconds of the same. */
const mostMs = 8

export interface Serving {
  readonly prefixes: PrefixIndex
  /** Whether a first token from predicted K and V is too unsure to be shown. */
  doubts(scores: Scores): boolean
  /** Ends a request when the pass is over: with its answer whole, or with an error. */
  end(task: Task, error?: ForetokenError): void
}

export interface Served {
  readonly prefillTokens: number
  readonly decodeTokens: number
}

/** `outputs` are the pass's, in order; `number` is the pass's own. */
export async function serve(
  { shares }: PassPlan,
  outputs: readonly Scores[],
  number: number,
  serving: Serving,
): Promise<Served> {
  const count = { prefillTokens: 0, decodeTokens: 0 }
  const steps = new Set(shares.filter(({ kind }) => kind !== 'refine').map(({ task }) => task))
  let turned = performance.now()
  let read = 0
  for (const share of shares) {
    const { task, kind, row } = share
    const scores = row === undefined ? undefined : outputs[row]!
    task.lastPass = number
    if (scores && task.streaming && share.count === 1) count.decodeTokens++
    else count.prefillTokens += share.count
    // What was computed is settled before anybody hears of it.
    attempt(task, serving, () => {
      const exact = kind === 'refine' && settle(share, steps.has(task))
      const reading = kind === 'prompt' && !task.streaming
      if (reading) task.keepIn(serving.prefixes)
      if (task.ending) return
      if (exact) {
        task.inexactTold = false
        task.job.onCache?.('exact')
      }
      if (reading) task.job.onPrefill?.(share.from + share.count, task.tokens.length)
      if (scores && !task.ending) take(task, scores, serving)
    })
    if (!scores) continue
    read += 'ids' in scores ? scores.ids.length : scores.length
    if (read < mostScores && performance.now() - turned < mostMs) continue
    // Sampling for many takes long: signals and sockets are served in between. Nothing that they do changes the plan.
    await nextTurn()
    turned = performance.now()
    read = 0
  }
  return count
}

/** What throws fails its own request. */
export function attempt(task: Task, { end }: Pick<Serving, 'end'>, run: () => void): void {
  try {
    run()
  } catch (error) {
    end(task, asForetokenError(error))
  }
}

/**
 * Notes that `count` more tokens of a cache are exact, and says whether all are. A step in the same pass has read them, and is exact
 * with the last of them.
 */
function settle({ task: { sequence }, count }: PlannedShare, step: boolean): boolean {
  const exact = sequence.exact + count + (step ? 1 : 0)
  sequence.settle(exact >= sequence.length ? exact : exact - (step ? 1 : 0))
  return !sequence.states
}

function take(task: Task, scores: Scores, serving: Serving): void {
  const { job, sequence } = task
  if (!task.streaming && job.mode === 'auto' && sequence.states && serving.doubts(scores)) {
    task.doubted = true
    return
  }
  const id = job.take(scores)
  task.streaming = true
  if (id === undefined) serving.end(task)
  else task.tokens.push(id)
}
