/**
 * Measures TTFT by prompt length, engine and mode: verified first, then timed in turns.
 *
 * The time runs from a user's message to the first readable text, and includes template, tokenizer,
 * prefill, sampling and detokenising. A cold start is a process of its own, from its start:
 * the runtime, the weights and the first answer. All samples are kept.
 */

import { spawn } from 'node:child_process'
import { type Engine, type LoadOptions, loadEngine, type Message } from '../../node/index.ts'
import { defined } from '../../src/base/at.ts'
import { blockParameters } from '../prefill.ts'
import { quantile, round, summary } from '../stats.ts'
import type { Mode, TextEngine } from './contender.ts'
import { openTextEngine } from './engines.ts'

export interface TtftOptions {
  readonly model: string
  readonly engines: readonly string[]
  readonly lengths: readonly number[]
  readonly modes: readonly Mode[]
  readonly runs: number
  readonly coldRuns: number
  readonly threads: number | undefined
  /** The script of the command line. */
  readonly cli: string
  readonly onProgress: (text: string) => void
  /** Looks at the model's header before its weights are read, and throws if it is of no use. */
  readonly onOpen?: LoadOptions['onOpen']
}

export interface TtftRow {
  readonly engine: string
  readonly build: string
  readonly mode: Mode
  /** Number of tokens of the prompt, by this model's tokenizer and template. */
  readonly length: number
  readonly ttft_ms: { readonly p50: number; readonly p95: number; readonly min: number; readonly max: number }
  readonly cpu_ms?: number
  /**
   * For exact prefill of this engine: 2 x block parameters x tokens divided by the time, and that
   * divided by the register-only rate of this build's product.
   */
  readonly gops?: number
  readonly fraction_of_peak?: number
  readonly samples: readonly number[]
}

export interface TtftOutcome {
  readonly rows: readonly TtftRow[]
  /** The first words of each engine's answer, and whether they equal the reference's. */
  readonly answers: readonly { readonly engine: string; readonly text: string; readonly agrees: boolean }[]
  /** Milliseconds of a process of its own, from its start to the first text. */
  readonly cold_ms?: { readonly p50: number; readonly samples: readonly number[] }
  readonly left_out: readonly { readonly engine: string; readonly why: string }[]
}

const answerTokens = 12

export async function benchTtft(options: TtftOptions): Promise<TtftOutcome> {
  const { model, lengths, onProgress, onOpen } = options
  const context = Math.max(...lengths) + 128
  const reference = await loadEngine(model, {
    context,
    prefixBytes: 0,
    ...(options.threads !== undefined && { threads: options.threads }),
    onOpen,
  })
  const opened: TextEngine[] = []
  const left: { engine: string; why: string }[] = []
  try {
    for (const name of options.engines)
      try {
        opened.push(await openTextEngine(name, { model, context, threads: options.threads, cli: options.cli }))
      } catch (error) {
        left.push({ engine: name, why: (error as Error).message })
      }
    const answers = await verified(opened, reference)
    const rows = await timedRows(opened, reference, options)
    onProgress('cold starts')
    const cold =
      options.coldRuns > 0 && options.engines.includes('foretoken')
        ? await coldStarts(options.cli, model, options.coldRuns)
        : undefined
    const cold_ms = cold && { p50: round(quantile(cold, 0.5), 4), samples: cold.map((ms) => round(ms, 4)) }
    return { rows, answers, ...(cold_ms && { cold_ms }), left_out: left }
  } finally {
    for (const engine of opened) await engine.close()
    await reference.close()
  }
}

interface Cell {
  readonly length: number
  readonly engine: TextEngine
  readonly mode: Mode
  readonly times: number[]
  readonly cpu: number[]
}

/** Runs rounds: every engine, mode and length once, in a rotating order. */
async function timedRows(
  engines: readonly TextEngine[],
  reference: Engine,
  { lengths, modes, runs, onProgress }: TtftOptions,
): Promise<TtftRow[]> {
  const cells = lengths.flatMap((length) =>
    engines.flatMap((engine) =>
      engine.modes
        .filter((mode) => modes.includes(mode))
        .map((mode): Cell => ({ length, engine, mode, times: [], cpu: [] })),
    ),
  )
  const peaks: number[] = []
  for (let run = 0; run <= runs; run++) {
    peaks.push(reference.backend.bench?.peak(20) ?? Number.NaN)
    for (let turn = 0; turn < cells.length; turn++) {
      const { length, engine, mode, times, cpu } = defined(cells[(turn + run) % cells.length])
      onProgress(`${engine.name} ${length} ${mode}  ${run} of ${runs}`)
      const { ttft_ms, cpu_ms } = await engine.first(messageOf(reference, length, run), mode)
      // The first round warms up.
      if (run === 0) continue
      times.push(round(ttft_ms, 5))
      if (cpu_ms !== undefined) cpu.push(cpu_ms)
    }
  }
  const peak = (summary(peaks).median / 1e9) * reference.backend.threads
  const parameters = blockParameters(reference)
  return cells.map((cell) => rowOf(cell, parameters, peak))
}

/** `parameters` counts the weights of the blocks; `peak` is the register-only rate, in GOP/s. */
function rowOf({ length, engine, mode, times, cpu }: Cell, parameters: number, peak: number): TtftRow {
  const p50 = quantile(times, 0.5)
  const gops = (2 * parameters * length) / p50 / 1e6
  const known = engine.build.startsWith('wasm') && mode === 'exact'
  return {
    engine: engine.name,
    build: engine.build,
    mode,
    length,
    ttft_ms: {
      p50: round(p50, 4),
      p95: round(quantile(times, 0.95), 4),
      min: round(Math.min(...times), 4),
      max: round(Math.max(...times), 4),
    },
    ...(cpu.length > 0 && { cpu_ms: round(quantile(cpu, 0.5), 4) }),
    ...(known && { gops: round(gops, 3), fraction_of_peak: round(gops / peak) }),
    samples: times,
  }
}

/**
 * A question with a certain answer: rounding differences between engines do not change it, and an
 * engine that is wrong does.
 */
const question: readonly Message[] = [{ role: 'user', content: 'What is the capital of Norway?' }]

/**
 * Returns the first words of each engine, so that an engine that answers something else is not
 * compared in silence.
 */
async function verified(engines: readonly TextEngine[], reference: Engine): Promise<TtftOutcome['answers'][number][]> {
  const { text: expected } = await reference.submit({ prompt: question, maxTokens: answerTokens }).result()
  const answers: TtftOutcome['answers'][number][] = []
  for (const engine of engines) {
    const text = await engine.answer(question, answerTokens)
    answers.push({ engine: engine.name, text, agrees: text.trim() === expected.trim() })
  }
  return answers
}

/**
 * Returns a user's message whose prompt has `length` tokens, or the template's minimum; its first
 * words depend on the run.
 */
export function messageOf(engine: Pick<Engine, 'promptIds'>, length: number, run: number): Message[] {
  const tokensOf = (content: string) => engine.promptIds([{ role: 'user', content }]).length
  const sentence = (n: number) =>
    ` Part ${n}: the river rises in the hills, turns east below the old mill and meets the sea near the harbour.`
  let content = `Letter ${run + 1}.`
  for (let n = 1; tokensOf(content + sentence(n)) <= length; n++) content += sentence(n)
  for (const word of ' One day in spring the boats came back with less than they had hoped for, and yet all were glad to see them.'
    .repeat(3)
    .split(/(?= )/)) {
    if (tokensOf(content) >= length) break
    content += word
  }
  return [{ role: 'user', content }]
}

async function coldStarts(cli: string, model: string, runs: number): Promise<number[]> {
  const times: number[] = []
  for (let run = 0; run < runs; run++) {
    const begun = performance.now()
    const child = spawn(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', cli, 'run', '-m', model, '--offline', '-n', '4', 'Name a river.'],
      {
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    )
    const first = await new Promise<number>((resolve, reject) => {
      child.stdout.once('data', () => resolve(performance.now() - begun))
      child.once('close', (code) => reject(new Error(`foretoken run ended with ${code} before it answered`)))
    })
    await new Promise((resolve) => (child.exitCode === null ? child.once('close', resolve) : resolve(undefined)))
    times.push(first)
  }
  return times
}
