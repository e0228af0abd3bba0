/**
 * Hands out the results of a pass according to its plan, even if some of its requests have ended
 * since.
 */
import type { Scores } from '../backend/backend.ts'
import { defined } from '../base/at.ts'
import { asForetokenError, type ForetokenError } from '../base/errors.ts'
import { nextTurn } from '../base/next-turn.ts'
import type { PrefixIndex } from '../kv/prefix.ts'
import { choosesAt } from './chunks.ts'
import type { PassPlan, PlannedShare } from './plan.ts'
import type { StatesReader, Task } from './task.ts'

/**
 * Maximum number of scores to read before the host's event loop gets a turn: about twenty rows of a
 * large vocabulary.
 */
const mostScores = 1 << 20

/** Maximum time before the host's event loop gets a turn, in milliseconds. */
const mostMs = 8

/** The part of the scheduler that serving a pass uses. */
export interface Serving {
  readonly prefixes: PrefixIndex
  /** Returns whether a first token from predicted K and V is too uncertain to be shown. */
  doubts(scores: Scores): boolean
  /** Ends a request when the pass is over: with a complete answer, or with an error. */
  end(task: Task, error?: ForetokenError): void
}

/** What a pass computed. */
export interface PassResults {
  /** One for each of its `outputs`, in their order. */
  readonly scores: readonly Scores[]
  /** The final states of its `states`, (rows, width), in their order. */
  readonly states: { readonly values: Float32Array; readonly width: number }
}

/** How many tokens of a pass were served. */
export interface Served {
  readonly prefillTokens: number
  readonly decodeTokens: number
}

/**
 * Serves every share of a pass and resolves with the numbers of tokens. `number` is the number of
 * the pass.
 */
export async function serve(
  { shares }: PassPlan,
  { scores: outputs, states }: PassResults,
  number: number,
  serving: Serving,
): Promise<Served> {
  const count = { prefillTokens: 0, decodeTokens: 0 }
  const steps = new Set(shares.filter(({ kind }) => kind !== 'refine').map(({ task }) => task))
  let turned = performance.now()
  let read = 0
  let stateRow = 0
  for (const share of shares) {
    const { task, kind, row, rows } = share
    const mine = states.values.subarray(stateRow * states.width, (stateRow + share.states) * states.width)
    stateRow += share.states
    task.lastPass = number
    // The row read tokens that were replaced since the pass was planned.
    if (task.cutIn === number) continue
    const scores = outputs.slice(row, row + rows)
    // A row to choose from is the last of its share.
    const next = !task.ending && choosesAt(task, kind, share.from + share.count) ? scores.at(-1) : undefined
    const decoded = kind === 'refine' ? 0 : task.run(share.from + share.count)
    count.decodeTokens += decoded
    count.prefillTokens += share.count - share.placed - decoded
    // Record what was computed before any callback runs.
    attempt(task, serving, () => {
      const exact = kind === 'refine' && recordRefined(share, steps.has(task))
      const reading = kind === 'prompt' && !task.streaming
      if (reading) task.keepIn(serving.prefixes)
      if (task.ending) return
      if (!check(share, scores, number, serving)) return
      if (exact) {
        task.notifiedInexact = false
        task.job.onCache?.('exact')
      }
      if (reading) task.job.onPrefill?.(share.from + share.count, task.tokens.length)
      if (next && !task.ending) choose(task, next, serving)
      if (task.job.states) readStates(share, task.job.states, mine)
      // A job that reads is complete when its prompt has been read.
      if (task.reads && share.from + share.count === task.tokens.length) serving.end(task)
      if (task.settling && task.pending === 0 && !task.sequence.states) serving.end(task)
    })
    if (rows === 0) continue
    for (const one of scores) read += 'ids' in one ? one.ids.length : one.length
    if (read < mostScores && performance.now() - turned < mostMs) continue
    // Sampling for many requests takes long, so the host handles signals and sockets in between.
    // Nothing that they do changes the plan.
    await nextTurn()
    turned = performance.now()
    read = 0
  }
  return count
}

/**
 * Lets a request check the tokens of its answer that the rows of its share read exactly. Returns
 * false if the answer was cut, so that the share is void from there on.
 */
function check({ task, from, count }: PlannedShare, scores: readonly Scores[], pass: number, serving: Serving) {
  const { job, unchecked } = task
  const first = from + count - scores.length
  // Tokens are checked in order, so a step beyond those that wait checks none.
  if (first > unchecked.from) return true
  const to = Math.min(from + count, unchecked.to)
  for (let position = unchecked.from; position < to; position++) {
    if (!job.checking) break
    const cut = job.checkToken?.(defined(scores[position - first]))
    if (task.ending) return false
    if (!cut) continue
    task.cut(cut.kept, pass)
    task.notifiedInexact = false
    if (cut.ids) task.tokens.push(...cut.ids)
    else serving.end(task)
    return false
  }
  unchecked.from = job.checking ? Math.max(unchecked.from, to) : unchecked.to
  return true
}

/** Calls `run`. An error that it throws ends this request only. */
export function attempt(task: Task, { end }: Pick<Serving, 'end'>, run: () => void): void {
  try {
    run()
  } catch (error) {
    end(task, asForetokenError(error))
  }
}

/**
 * Records that `count` more tokens of a cache are exact, and returns true if all are. A decode step
 * in the same pass has read them, so it becomes exact together with the last of them.
 */
function recordRefined({ task: { sequence }, count }: PlannedShare, step: boolean): boolean {
  const exact = sequence.exact + count + (step ? 1 : 0)
  sequence.markExact(exact >= sequence.length ? exact : exact - (step ? 1 : 0))
  return !sequence.states
}

/** Hands a job the states of its share. */
function readStates({ task, from, count, states: rows }: PlannedShare, reader: StatesReader, states: Float32Array) {
  if (!task.ending && rows > 0) reader.read(states, reader.rows === 'last' ? from + count - 1 : from)
}

/** Lets the request choose its next tokens, unless its first token is doubtful. */
function choose(task: Task, scores: Scores, serving: Serving): void {
  const { job, sequence } = task
  if (!task.streaming && job.mode === 'auto' && sequence.states && serving.doubts(scores)) {
    task.doubted = true
    return
  }
  const inexact = sequence.states?.kept ?? false
  const ids = job.chooseTokens(scores)
  task.streaming = true
  if (inexact && job.checking) task.unchecked.to = task.tokens.length
  if (ids) task.tokens.push(...ids)
  else if (inexact && job.checkToken && !task.ending) task.settling = true
  else serving.end(task)
}
