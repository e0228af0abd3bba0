/**
 * Measures exact, predicted and refined prefill of the same prompts: when the first token comes,
 * and what refining costs afterwards.
 */
import { defined } from '../src/base/at.ts'
import type { DoneEvent, Engine } from '../src/index.ts'
import { type BenchOptions, promptOf } from './prefill.ts'
import { cpuMs, quantile, round, type Summary, summary } from './stats.ts'

export type Mode = 'exact' | 'predicted' | 'refined'
const modes: readonly Mode[] = ['exact', 'predicted', 'refined']

/** The times of one answer, by the clock and by the processor. */
interface Timed {
  readonly ttft_ms: number
  readonly cpu_ms: number
  /** Milliseconds between tokens; for a refined answer, until its cache was exact. */
  readonly itl_ms: readonly number[]
  /** Total processor time between these tokens. */
  readonly itl_cpu_ms: number
  readonly done: DoneEvent
}

export interface ModesRow {
  readonly length: number
  /** Medians over the rounds. */
  readonly ttft_ms: Readonly<Record<Mode, number>>
  readonly ttft_cpu_ms: Readonly<Record<Mode, number>>
  /** Exact TTFT divided by predicted, by round. */
  readonly speedup: Summary
  /** The same ratio by the count of operations. */
  readonly formula: number
  /** Refined TTFT divided by predicted, by round. */
  readonly refined_ttft: Summary
  /** Milliseconds between tokens, in plain decode and while refining. */
  readonly itl_ms: Readonly<Record<'plain' | 'refining', { readonly p50: number; readonly p95: number }>>
  /** Number of tokens shown before the cache was exact. */
  readonly exact_from: number
  /**
   * Processor time of prefill and refining without the decode steps, divided by that of exact
   * prefill, by round.
   */
  readonly total_work: Summary
  readonly samples: readonly Readonly<Record<Mode, Omit<Timed, 'done'>>>[]
}

/** Maximum tokens of an answer in which a cache must become exact. */
const mostTokens = 512
/** Number of tokens of plain answers. */
const plainTokens = 48

export async function benchModes(engine: Engine, options: BenchOptions): Promise<ModesRow[]> {
  const runs = options.runs ?? 7
  const rows: ModesRow[] = []
  let done = 0
  for (const length of options.lengths) {
    const prompt = promptOf(engine, length)
    const rounds: Record<Mode, Timed>[] = []
    for (let run = 0; run <= runs; run++) {
      const one = {} as Record<Mode, Timed>
      for (const mode of modes) {
        one[mode] = await answered(engine, prompt, mode)
        options.onProgress?.(++done, options.lengths.length * (runs + 1) * modes.length)
      }
      // The first run warms up.
      if (run > 0) rounds.push(one)
    }
    rows.push(rowOf(engine, length, rounds))
  }
  return rows
}

async function answered(engine: Engine, prompt: readonly number[], prefill: Mode): Promise<Timed> {
  const room = engine.context - prompt.length
  const maxTokens = Math.min(prefill === 'refined' ? mostTokens : plainTokens, room)
  const times: number[] = []
  const cpu: number[] = []
  let done: DoneEvent | undefined
  const begun = performance.now()
  const cpuBegun = cpuMs()
  for await (const event of engine.submit({ prompt, prefill, maxTokens, ignoreEos: true })) {
    if (event.type === 'done') done = event
    if (event.type !== 'token') continue
    times.push(performance.now() - begun)
    cpu.push(cpuMs() - cpuBegun)
  }
  if (!done) throw new Error('the answer has no end')
  const until = prefill === 'refined' ? Math.max(1, done.exact_from ?? maxTokens) : maxTokens
  const itl_ms = times.slice(1, until).map((time, i) => time - defined(times[i]))
  const itl_cpu_ms = defined(cpu[Math.min(until, cpu.length) - 1]) - defined(cpu[0])
  return { ttft_ms: defined(times[0]), cpu_ms: defined(cpu[0]), itl_ms, itl_cpu_ms, done }
}

function rowOf(engine: Engine, length: number, rounds: readonly Record<Mode, Timed>[]): ModesRow {
  const median = (of: (one: Record<Mode, Timed>) => number) => summary(rounds.map(of)).median
  const each = <T>(of: (mode: Mode) => T) =>
    Object.fromEntries(modes.map((mode) => [mode, of(mode)])) as Record<Mode, T>
  const between = (mode: Mode) => rounds.flatMap((one) => one[mode].itl_ms)
  const spread = (values: readonly number[]) => ({
    p50: round(quantile(values, 0.5)),
    p95: round(quantile(values, 0.95)),
  })
  const plainCpu = median(({ exact }) => exact.itl_cpu_ms / exact.itl_ms.length)
  return {
    length,
    ttft_ms: each((mode) => round(median((one) => one[mode].ttft_ms))),
    ttft_cpu_ms: each((mode) => round(median((one) => one[mode].cpu_ms))),
    speedup: rounded(rounds.map(({ exact, predicted }) => exact.ttft_ms / predicted.ttft_ms)),
    formula: round(1 / defined(engine.prediction).share(engine.archive.config, length, 0)),
    refined_ttft: rounded(rounds.map(({ refined, predicted }) => refined.ttft_ms / predicted.ttft_ms)),
    itl_ms: { plain: spread(between('exact')), refining: spread(between('refined')) },
    exact_from: median(({ refined }) => refined.done.exact_from ?? mostTokens),
    total_work: rounded(
      rounds.map(({ exact, refined }) => {
        const refining = refined.itl_cpu_ms - refined.itl_ms.length * plainCpu
        return (refined.cpu_ms + refining) / exact.cpu_ms
      }),
    ),
    samples: rounds.map((one) => each((mode) => withoutDone(one[mode]))),
  }
}

function withoutDone({ done: _, ...rest }: Timed): Omit<Timed, 'done'> {
  return { ...rest, itl_ms: rest.itl_ms.map((value) => round(value)) }
}

function rounded(values: readonly number[]): Summary {
  const { median, min, max } = summary(values)
  return { median: round(median), min: round(min), max: round(max) }
}
