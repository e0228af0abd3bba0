/**
 * Times prompts whose documents are all known, in ever new orders and with ever new questions,
 * against exact prefill of the same prompts, and counts whether their corrected answers are equal.
 */
import { defined } from '../src/base/at.ts'
import type { ChatMessage, DoneEvent, Engine } from '../src/index.ts'
import { shuffled } from './lengths.ts'
import { noteWriter } from './notes.ts'
import { cpuMs, round, roundedSummary, type Summary } from './stats.ts'

export interface ChunksOptions {
  /** Tokens of a prompt. */
  readonly lengths: readonly number[]
  /** Number of documents of a prompt. Default 6. */
  readonly documents?: number
  /** Number of prompts of each length. Default 10. */
  readonly runs?: number
  /** Tokens of an answer. Default 32. */
  readonly answerTokens?: number
  readonly onProgress?: (done: number, total: number) => void
}

export interface ChunksRow {
  /** Mean number of tokens of the prompts, and of those that were placed. */
  readonly tokens: number
  readonly placed: number
  readonly answers: number
  /** Number of answers that are those of exact prefill, after correction. */
  readonly equal: number
  readonly departed: number
  /** Work before the first token, by formula, divided by that of exact prefill. */
  readonly share: number
  /** Processor time before the first token of exact prefill divided by that with placed chunks, by prompt. */
  readonly faster: Summary
  /** The same by the clock. */
  readonly fasterByClock: Summary
  /** Processor time before the first token, in milliseconds. */
  readonly exactMs: Summary
  readonly placedMs: Summary
  /** Processor time of a whole answer, checked, divided by that of the exact one. */
  readonly work: Summary
}

interface Made {
  readonly done: DoneEvent
  readonly cpu: number
  readonly firstCpu: number
  readonly firstMs: number
}

/** Answers each prompt exactly and with its documents placed, the first of the two in turn. */
export async function benchChunks(engine: Engine, options: ChunksOptions): Promise<ChunksRow[]> {
  const { lengths, documents = 6, runs = 10, answerTokens = 32 } = options
  const total = lengths.length * (1 + 2 * (runs + 1))
  let count = 0
  const rows: ChunksRow[] = []
  for (const length of lengths) {
    const texts = Array.from({ length: documents }, (_, index) => documentOf(engine, (length - 70) / documents, index))
    const answered = async (run: number, prefill: 'exact' | 'refined', maxTokens = answerTokens) => {
      const made = await answerOf(engine, promptOf(shuffled(texts, run), run), prefill, maxTokens)
      options.onProgress?.(++count, total)
      return made
    }
    await answered(-1, 'refined', 1)
    await engine.keepChunks()
    const pairs: { readonly exact: Made; readonly placed: Made }[] = []
    for (let run = 0; run <= runs; run++) {
      const placedFirst = run % 2 === 0 ? await answered(run, 'refined') : undefined
      const exact = await answered(run, 'exact')
      const placed = placedFirst ?? (await answered(run, 'refined'))
      // The first run warms up.
      if (run > 0) pairs.push({ exact, placed })
    }
    rows.push(rowOf(pairs))
  }
  return rows
}

async function answerOf(
  engine: Engine,
  prompt: readonly ChatMessage[],
  prefill: 'exact' | 'refined',
  maxTokens: number,
): Promise<Made> {
  const [cpu, begun] = [cpuMs(), performance.now()]
  let first: { readonly cpu: number; readonly ms: number } | undefined
  let done: DoneEvent | undefined
  for await (const event of engine.submit({ prompt, prefill, maxTokens, verify: prefill !== 'exact' })) {
    if (event.type === 'token') first ??= { cpu: cpuMs() - cpu, ms: performance.now() - begun }
    if (event.type === 'done') done = event
  }
  return { done: defined(done), cpu: cpuMs() - cpu, firstCpu: first?.cpu ?? 0, firstMs: first?.ms ?? 0 }
}

function rowOf(pairs: readonly { readonly exact: Made; readonly placed: Made }[]): ChunksRow {
  const mean = (of: (made: Made) => number) => pairs.reduce((sum, { placed }) => sum + of(placed), 0) / pairs.length
  const over = (of: (exact: Made, placed: Made) => number) =>
    roundedSummary(pairs.map(({ exact, placed }) => of(exact, placed)))
  return {
    tokens: round(mean(({ done }) => done.timings.prompt_tokens)),
    placed: round(mean(({ done }) => done.placed_tokens ?? 0)),
    answers: pairs.length,
    equal: pairs.filter(({ exact, placed }) => exact.done.ids.join() === placed.done.ids.join()).length,
    departed: pairs.filter(({ placed }) => typeof placed.done.verified === 'number').length,
    share: round(mean(({ done }) => done.prefill_share)),
    faster: over((exact, placed) => exact.firstCpu / placed.firstCpu),
    fasterByClock: over((exact, placed) => exact.firstMs / placed.firstMs),
    exactMs: over((exact) => exact.firstCpu),
    placedMs: over((_, placed) => placed.firstCpu),
    work: over((exact, placed) => placed.cpu / exact.cpu),
  }
}

/** Returns a document of about `length` tokens, another one for each `seed`. */
function documentOf(engine: Engine, length: number, seed: number): string {
  const { pick, sentence } = noteWriter(seed)
  let text = `Notes of the ${pick('place')}:`
  while (engine.tokenize(text).length < length) text += ` ${sentence()}`
  return text
}

function promptOf(texts: readonly string[], seed: number): ChatMessage[] {
  const { pick } = noteWriter(1000 + seed)
  const question = `Who left the ${pick('things')} at the ${pick('place')}? Tell what ${pick('person')} did, from the notes above.`
  const parts = texts.map((text) => ({ type: 'text' as const, text, chunk: true }))
  return [{ role: 'user', content: [...parts, { type: 'text', text: question }] }]
}
