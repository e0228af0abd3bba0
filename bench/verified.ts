/**
 * Counts how often answers whose prompts were predicted depart from those of exact prefill, whether
 * all are equal after their correction, and what that costs.
 */
import { defined } from '../src/base/at.ts'
import type { DoneEvent, Engine } from '../src/index.ts'
import { noteWriter } from './notes.ts'
import { cpuMs, roundedSummary, type Summary } from './stats.ts'

const modes = ['refined', 'auto'] as const
type Mode = (typeof modes)[number]

export interface VerifiedOptions {
  readonly lengths: readonly number[]
  /** Number of prompts of each length. Default 10. */
  readonly runs?: number
  /** Tokens of an answer. Default 48. */
  readonly answerTokens?: number
  readonly onProgress?: (done: number, total: number) => void
}

export interface VerifiedRow {
  readonly length: number
  readonly mode: Mode
  readonly answers: number
  /** Number of answers that are those of exact prefill, after correction. */
  readonly equal: number
  /** Number of answers that were corrected, and the index of the first token that was wrong, by answer. */
  readonly departed: number
  readonly departures: readonly number[]
  /** Number of answers of `auto` that waited for exact prefill. */
  readonly exact: number
  /** Rows run for an answer divided by those of the exact one: a count, not a time. */
  readonly rows: Summary
  /** Processor time of a whole answer divided by that of the exact one. */
  readonly work: Summary
  /** Processor time before the first token, divided likewise. */
  readonly first: Summary
}

interface Made {
  readonly done: DoneEvent
  readonly rows: number
  readonly cpu: number
  readonly firstCpu: number
}

/** Answers each prompt exactly and in both modes. The answers of a prompt follow each other. */
export async function benchVerified(engine: Engine, options: VerifiedOptions): Promise<VerifiedRow[]> {
  const { lengths, runs = 10, answerTokens = 48 } = options
  const total = lengths.length * (runs + 1) * (modes.length + 1)
  let count = 0
  const answered = async (content: string, mode: 'exact' | Mode) => {
    const made = await answerOf(engine, content, mode, answerTokens)
    options.onProgress?.(++count, total)
    return made
  }
  const rows: VerifiedRow[] = []
  for (const length of lengths) {
    const exact: Made[] = []
    const others: Record<Mode, Made[]> = { refined: [], auto: [] }
    for (let run = 0; run <= runs; run++) {
      const content = promptTextOf(engine, length, run)
      const whole = await answered(content, 'exact')
      const both = [await answered(content, 'refined'), await answered(content, 'auto')]
      // The first run warms up.
      if (run === 0) continue
      exact.push(whole)
      modes.forEach((mode, at) => {
        others[mode].push(defined(both[at]))
      })
    }
    for (const mode of modes) rows.push(rowOf(length, mode, exact, others[mode]))
  }
  return rows
}

async function answerOf(engine: Engine, content: string, prefill: 'exact' | Mode, maxTokens: number): Promise<Made> {
  const prompt = [{ role: 'user' as const, content }]
  const rows = () => engine.stats.prefill_tokens + engine.stats.decode_tokens
  const [rowsBefore, begun] = [rows(), cpuMs()]
  let firstCpu: number | undefined
  let done: DoneEvent | undefined
  for await (const event of engine.submit({ prompt, prefill, maxTokens, verify: prefill !== 'exact' })) {
    if (event.type === 'token') firstCpu ??= cpuMs() - begun
    if (event.type === 'done') done = event
  }
  return { done: defined(done), rows: rows() - rowsBefore, cpu: cpuMs() - begun, firstCpu: firstCpu ?? 0 }
}

function rowOf(length: number, mode: Mode, exact: readonly Made[], made: readonly Made[]): VerifiedRow {
  const same = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((id, i) => id === b[i])
  const over = (of: (one: Made) => number) => roundedSummary(made.map((one, at) => of(one) / of(defined(exact[at]))))
  const departures = made.flatMap(({ done: { verified } }) => (typeof verified === 'number' ? [verified] : []))
  return {
    length,
    mode,
    answers: made.length,
    equal: made.filter(({ done }, at) => same(done.ids, defined(exact[at]).done.ids)).length,
    departed: departures.length,
    departures,
    exact: made.filter(({ done }) => done.prefill === 'exact').length,
    rows: over(({ rows }) => rows),
    work: over(({ cpu }) => cpu),
    first: over(({ firstCpu }) => firstCpu),
  }
}

/** Returns a text of about `length` tokens that ends with a question about it, another one for each `seed`. */
function promptTextOf(engine: Engine, length: number, seed: number): string {
  const { pick, sentence } = noteWriter(seed)
  const question = `Write a short story about ${pick('person')} and the ${pick('things')}, from the notes above.`
  let text = ''
  const whole = () => `Notes:\n${text}\n\n${question}`
  while (engine.promptIds([{ role: 'user', content: whole() }]).length < length) text += `${sentence()} `
  return whole()
}
