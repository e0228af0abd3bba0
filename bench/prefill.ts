/**
 * Measures prefill speed by prompt length, as a fraction of what this core's registers can do.
 *
 * `gops` counts 2 x block parameters x tokens. Attention, norms and the vocabulary projection are
 * work too, but do not count, so that the figure can be compared between engines. `peak_gops` is
 * the register-only rate of the build's int8 dot product, measured between the samples of the same
 * run.
 */
import { defined } from '../src/base/at.ts'
import type { Engine } from '../src/index.ts'
import { round, type Sample, type Summary, summary, timed } from './stats.ts'

export interface PrefillRow {
  readonly tokens: number
  readonly ms: number
  readonly cpu_ms: number
  readonly tokens_per_s: number
  readonly gops: number
  readonly peak_gops: number
  readonly fraction_of_peak: number
  readonly spread_ms: Summary
  readonly samples: readonly Sample[]
}

export interface BenchOptions {
  readonly lengths: readonly number[]
  /**
   * Timed runs of each length. Lengths alternate, so that a slow spell hits all of them. Default 7.
   */
  readonly runs?: number
  readonly onProgress?: (done: number, total: number) => void
}

export async function benchPrefill(engine: Engine, options: BenchOptions): Promise<PrefillRow[]> {
  const runs = options.runs ?? 7
  const parameters = blockParameters(engine)
  const samples = new Map<number, Sample[]>(options.lengths.map((length) => [length, []]))
  const peaks: number[] = []
  const total = options.lengths.length * (runs + 1)
  let done = 0
  for (let run = 0; run <= runs; run++) {
    for (const length of options.lengths) {
      const ids = promptOf(engine, length)
      const sample = await timed(async () => (await engine.prefill(ids)).release())
      // The first round warms up: code is compiled, pages are touched.
      if (run > 0) defined(samples.get(length)).push(sample)
      peaks.push(engine.backend.bench?.peak(20) ?? Number.NaN)
      options.onProgress?.(++done, total)
    }
  }
  const peak = (summary(peaks).median / 1e9) * engine.backend.threads
  return [...samples].map(([tokens, taken]) => {
    const wall = summary(taken.map((sample) => sample.ms))
    const gops = (2 * parameters * tokens) / wall.median / 1e6
    return {
      tokens,
      ms: round(wall.median, 4),
      cpu_ms: round(summary(taken.map((sample) => sample.cpu_ms)).median, 4),
      tokens_per_s: round((tokens * 1000) / wall.median, 4),
      gops: round(gops, 4),
      peak_gops: round(peak, 4),
      fraction_of_peak: round(gops / peak),
      spread_ms: wall,
      samples: taken,
    }
  })
}

/**
 * Returns the number of parameters of all matrices in the blocks, without embedding and vocabulary
 * projection.
 */
export function blockParameters(engine: Engine): number {
  let sum = 0
  for (const [name, { rows, cols }] of engine.archive.tensors)
    if (name.startsWith('layers.') && rows > 1) sum += rows * cols
  return sum
}

/**
 * Returns exactly `length` ids of plain text: common words, with a counter so that no two parts are
 * equal.
 */
export function promptOf(engine: Engine, length: number): number[] {
  if (length >= engine.context) throw new RangeError(`a prompt of ${length} tokens does not fit in ${engine.context}`)
  let text = ''
  for (let n = 1; ; n++) {
    text += `Part ${n}: the river rises in the hills, turns east below the old mill and meets the sea near the harbour. `
    const ids = engine.tokenize(text)
    if (ids.length >= length) return ids.slice(0, length)
  }
}
