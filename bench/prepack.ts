/**
 * Measures four ways to prefill a batch, on the same engine and weights, in turns: prompts one by
 * one, all padded to the longest, padded after sorting by length, and packed (Prepacking, arXiv
 * 2404.09529, figures 3 and 5).
 *
 * Padding runs in the same passes as packing, with meaningless rows: the rows differ, not the code.
 * Random batches are timed single, padded and packed. Sorting needs a queue to sort. So batches at
 * even distances of the whole sorted set are timed padded and packed, and compared with each other.
 * An engine with a predictor runs the random ones twice more, predicted: one by one, and all
 * submitted at once.
 */
import { defined } from '../src/base/at.ts'
import { type Engine, pageTokens } from '../src/index.ts'
import { binsOf } from '../src/onnx/bins.ts'
import { moments, shuffled } from './lengths.ts'
import { quantile, round, type Sample, type Summary, sum, summary, timed } from './stats.ts'

export interface PrepackRow {
  readonly batch: number
  /** Number of random batches, and of batches of the sorted set. */
  readonly batches: number
  readonly prompts: number
  readonly tokens: number
  readonly mean_length: number
  readonly cv: number
  /**
   * Mean number of rows of the longest prompt's length that best-fit decreasing needs for a batch.
   */
  readonly packed_rows: number
  /** Medians of all batches together; `sorted` and `packed_sorted` are for the sorted batches. */
  readonly ms: Readonly<Record<'single' | 'padded' | 'packed' | 'sorted' | 'packed_sorted', number>>
  readonly cpu_ms: Readonly<Record<'single' | 'padded' | 'packed', number>>
  /**
   * Time of the others divided by the time of packing, by round: the median, and the minimum and
   * maximum.
   */
  readonly speedup: Readonly<Record<Rival, number>>
  readonly speedup_range: Readonly<Record<Rival, readonly [number, number]>>
  /** Rows with padding divided by rows with packing: batch size x longest / sum of lengths. */
  readonly predicted_speedup: number
  /** Measured speed-up divided by predicted. */
  readonly of_predicted: number
  readonly peak_kv_bytes: Readonly<Record<'padded' | 'packed', number>>
  /**
   * Milliseconds to the logits of the first token, all prompts waiting since the batch began.
   * `shortest` is the scheduler's order.
   */
  readonly ttft_ms: Readonly<Record<'single' | 'padded' | 'packed' | 'shortest', Ttft>>
  /**
   * The largest ratio of a packed prompt's TTFT to the padded batch's; above 1, a prompt waited
   * longer.
   */
  readonly worst_ttft: number
  /** Present for an engine with a predictor. */
  readonly predicted?: PredictedBatch
  readonly samples: readonly Round[]
}

/** Prediction with and without packing: medians, and speed-ups by round. */
export interface PredictedBatch {
  readonly ms: Readonly<Record<'single' | 'packed', number>>
  /** Speed-up of predicted over exact, both one by one. */
  readonly alone: Summary
  /** Speed-up of predicted and packed over exact and padded. */
  readonly together: Summary
  /** `together` divided by the product of the separate speed-ups of packing and prediction. */
  readonly of_product: number
}

export interface Ttft {
  readonly mean: number
  readonly p50: number
  readonly p95: number
}

/** The ways that packing is compared with. */
type Rival = 'padded' | 'sorted' | 'single'
type Way = 'single' | 'padded' | 'packed' | 'shortest'
type PredictedWay = 'predicted_single' | 'predicted_packed'
type Round = Readonly<Partial<Record<Way | PredictedWay | 'sorted' | 'packed_sorted', Sample>>>
type Prompts = readonly (readonly number[])[]

export interface PrepackOptions {
  readonly batches: readonly number[]
  /** Number of batches of each size. Default 2. */
  readonly draws?: number
  /** Timed rounds; all ways take turns in each. Default 3. */
  readonly runs?: number
  readonly seed: number
  readonly onProgress?: (text: string) => void
}

/**
 * Returns the room that an engine needs: for the longest prompt, and for the largest batch padded
 * to it.
 */
export function prepackRoom(prompts: Prompts, batches: readonly number[]): { context: number; kvTokens: number } {
  const longest = Math.max(...prompts.map(({ length }) => length))
  const padded = Math.ceil(longest / pageTokens) * pageTokens
  return { context: longest + 1, kvTokens: Math.max(longest + 1, padded * Math.max(...batches)) + pageTokens }
}

/** Measures each batch size that `prompts` are enough for. */
export async function benchPrepack(engine: Engine, prompts: Prompts, options: PrepackOptions): Promise<PrepackRow[]> {
  const rows: PrepackRow[] = []
  for (const batch of options.batches)
    if (batch <= prompts.length) rows.push(await benchBatch(engine, prompts, batch, options))
  return rows
}

async function benchBatch(
  engine: Engine,
  all: Prompts,
  batch: number,
  { draws = 2, runs = 3, seed, onProgress }: PrepackOptions,
): Promise<PrepackRow> {
  const count = Math.min(draws, Math.floor(all.length / batch))
  const mixed = shuffled(all, seed)
  const random = Array.from({ length: count }, (_, i) => mixed.slice(i * batch, (i + 1) * batch))
  const ordered = windows(
    [...all].sort((a, b) => a.length - b.length),
    batch,
    count,
  )
  const samples: Round[] = []
  const waits: Record<Way, number[]> = { single: [], padded: [], packed: [], shortest: [] }
  let worst = 0
  // Code is compiled and pages are touched before the clock runs.
  await packed(engine, defined(random[0]))
  if (engine.prediction) await predictedWays.predicted_packed(engine, defined(random[0]))
  for (let run = 1; run <= runs; run++) {
    const took: Record<string, Sample> = {}
    const add = (name: string, sample: Sample) => {
      const before = took[name] ?? { ms: 0, cpu_ms: 0 }
      took[name] = { ms: before.ms + sample.ms, cpu_ms: before.cpu_ms + sample.cpu_ms }
    }
    for (let i = 0; i < count; i++) {
      const ttft: Partial<Record<Way, number[]>> = {}
      for (const way of ['single', 'padded', 'packed', 'shortest'] as const) {
        onProgress?.(`batch ${batch}  round ${run} of ${runs}  ${way}`)
        add(way, await timed(async () => (ttft[way] = await ways[way](engine, defined(random[i])))))
      }
      for (const way of engine.prediction ? (['predicted_single', 'predicted_packed'] as const) : []) {
        onProgress?.(`batch ${batch}  round ${run} of ${runs}  ${way}`)
        add(way, await timed(() => predictedWays[way](engine, defined(random[i]))))
      }
      add('sorted', await timed(() => padded(engine, defined(ordered[i]))))
      add('packed_sorted', await timed(() => packed(engine, defined(ordered[i]))))
      for (const way of Object.keys(waits) as Way[]) waits[way].push(...defined(ttft[way]))
      worst = Math.max(worst, Math.max(...defined(ttft.packed)) / Math.min(...defined(ttft.padded)))
    }
    samples.push(took)
  }
  return report(engine, batch, random, samples, waits, worst)
}

function report(
  engine: Engine,
  batch: number,
  random: readonly Prompts[],
  samples: readonly Round[],
  waits: Readonly<Record<Way, number[]>>,
  worst: number,
): PrepackRow {
  const lengths = random.flat().map(({ length }) => length)
  const { mean, cv } = moments(lengths)
  const ratios = ratiosOf(samples)
  const range = ({ min, max }: Summary) => [round(min), round(max)] as const
  const predicted = sum(random.map((prompts) => batch * longest(prompts))) / sum(lengths)
  return {
    batch,
    batches: random.length,
    prompts: lengths.length,
    tokens: sum(lengths),
    mean_length: round(mean),
    cv: round(cv),
    packed_rows: round(sum(random.map(packedRows)) / random.length),
    ...mediansOf(samples),
    speedup: {
      padded: round(ratios.padded.median),
      sorted: round(ratios.sorted.median),
      single: round(ratios.single.median),
    },
    speedup_range: { padded: range(ratios.padded), sorted: range(ratios.sorted), single: range(ratios.single) },
    predicted_speedup: round(predicted),
    of_predicted: round(ratios.padded.median / predicted),
    peak_kv_bytes: peakBytes(engine, random),
    ttft_ms: {
      single: ttftOf(waits.single),
      padded: ttftOf(waits.padded),
      packed: ttftOf(waits.packed),
      shortest: ttftOf(waits.shortest),
    },
    worst_ttft: round(worst),
    ...(engine.prediction && { predicted: predictedBatch(samples) }),
    samples,
  }
}

/**
 * Returns the times of the others divided by those of packing, by pairs: a slow spell of the
 * machine hits both of a pair.
 */
function ratiosOf(samples: readonly Round[]): Readonly<Record<Rival, Summary>> {
  const ratio = (rival: keyof Round, packing: keyof Round) =>
    summary(samples.map((sample) => defined(sample[rival]).ms / defined(sample[packing]).ms))
  return {
    padded: ratio('padded', 'packed'),
    sorted: ratio('sorted', 'packed_sorted'),
    single: ratio('single', 'packed'),
  }
}

function mediansOf(samples: readonly Round[]): Pick<PrepackRow, 'ms' | 'cpu_ms'> {
  const median = (way: keyof Round, what: keyof Sample) =>
    round(summary(samples.map((sample) => defined(sample[way])[what])).median, 4)
  const ms = {
    single: median('single', 'ms'),
    padded: median('padded', 'ms'),
    packed: median('packed', 'ms'),
    sorted: median('sorted', 'ms'),
    packed_sorted: median('packed_sorted', 'ms'),
  }
  const cpu_ms = {
    single: median('single', 'cpu_ms'),
    padded: median('padded', 'cpu_ms'),
    packed: median('packed', 'cpu_ms'),
  }
  return { ms, cpu_ms }
}

function packedRows(prompts: Prompts): number {
  const lengths = prompts.map(({ length }) => length)
  return binsOf(lengths, longest(prompts)).length
}

function peakBytes({ pageBytes }: Engine, random: readonly Prompts[]): PrepackRow['peak_kv_bytes'] {
  const bytes = (pagesOf: (prompts: Prompts) => number) => Math.max(...random.map(pagesOf)) * pageBytes
  return {
    padded: bytes((prompts) => prompts.length * Math.ceil(longest(prompts) / pageTokens)),
    packed: bytes((prompts) => sum(prompts.map(({ length }) => Math.ceil(length / pageTokens)))),
  }
}

function predictedBatch(samples: readonly Round[]): PredictedBatch {
  const ratio = (slow: keyof Round, fast: keyof Round) =>
    summary(samples.map((one) => defined(one[slow]).ms / defined(one[fast]).ms))
  const shown = ({ median, min, max }: Summary) => ({ median: round(median), min: round(min), max: round(max) })
  const median = (way: PredictedWay) => round(summary(samples.map((one) => defined(one[way]).ms)).median, 4)
  const [alone, together] = [ratio('single', 'predicted_single'), ratio('padded', 'predicted_packed')]
  return {
    ms: { single: median('predicted_single'), packed: median('predicted_packed') },
    alone: shown(alone),
    together: shown(together),
    of_product: round(together.median / (alone.median * ratio('padded', 'packed').median)),
  }
}

/**
 * Each runs a batch and returns when each prompt's logits were ready, in milliseconds from its
 * beginning.
 */
const ways: Record<Way, (engine: Engine, prompts: Prompts) => Promise<number[]>> = { single, padded, packed, shortest }

async function single(engine: Engine, prompts: Prompts): Promise<number[]> {
  const begun = performance.now()
  const times: number[] = []
  // A batch of sessions is held until all are done, as in the other ways.
  const sessions = []
  for (const ids of prompts) {
    sessions.push(await engine.prefill(ids))
    times.push(performance.now() - begun)
  }
  for (const session of sessions) session.release()
  return times
}

async function padded(engine: Engine, prompts: Prompts): Promise<number[]> {
  const length = longest(prompts)
  const rows = prompts.map((ids) => [...ids, ...new Array<number>(length - ids.length).fill(0)])
  const begun = performance.now()
  const sessions = await engine.prefillMany(rows)
  const time = performance.now() - begun
  for (const session of sessions) session.release()
  return prompts.map(() => time)
}

async function packed(engine: Engine, prompts: Prompts): Promise<number[]> {
  const begun = performance.now()
  const passes: { done: number; at: number }[] = []
  const onPrefill = (done: number) => passes.push({ done, at: performance.now() - begun })
  const sessions = await engine.prefillMany(prompts, { onPrefill })
  for (const session of sessions) session.release()
  let end = 0
  return prompts.map(({ length }) => {
    end += length
    return defined(passes.find(({ done }) => done >= end)).at
  })
}

/** Submits all prompts at once; the scheduler runs the shortest first. */
async function shortest(engine: Engine, prompts: Prompts): Promise<number[]> {
  const requests = prompts.map((ids) => engine.submit({ prompt: ids, maxTokens: 1 }))
  const done = await Promise.all(requests.map((request) => request.result()))
  return done.map(({ timings }) => timings.ttft_ms)
}

const predictedWays: Record<PredictedWay, (engine: Engine, prompts: Prompts) => Promise<void>> = {
  async predicted_single(engine, prompts) {
    for (const prompt of prompts) await engine.submit({ prompt, maxTokens: 1, prefill: 'predicted' }).result()
  },
  async predicted_packed(engine, prompts) {
    const requests = prompts.map((prompt) => engine.submit({ prompt, maxTokens: 1, prefill: 'predicted' }))
    await Promise.all(requests.map((request) => request.result()))
  },
}

function longest(prompts: Prompts): number {
  return Math.max(...prompts.map(({ length }) => length))
}

/** Returns `count` windows of `size` neighbours, at even distances. */
function windows(ordered: Prompts, size: number, count: number): Prompts[] {
  return Array.from({ length: count }, (_, i) => {
    const middle = Math.round(((i + 0.5) * ordered.length) / count)
    const from = Math.min(Math.max(0, middle - (size >> 1)), ordered.length - size)
    return ordered.slice(from, from + size)
  })
}

function ttftOf(times: readonly number[]): Ttft {
  return {
    mean: round(sum(times) / times.length, 4),
    p50: round(quantile(times, 0.5), 4),
    p95: round(quantile(times, 0.95), 4),
  }
}
