/**
 * Measures decode speed: milliseconds per token of one sequence, at a given number of context
 * tokens.
 */
import { defined } from '../src/base/at.ts'
import type { Engine } from '../src/index.ts'
import { type BenchOptions, promptOf } from './prefill.ts'
import { round, type Sample, type Summary, summary, timed } from './stats.ts'

export interface DecodeRow {
  readonly context: number
  readonly ms_per_token: number
  readonly cpu_ms_per_token: number
  readonly tokens_per_s: number
  readonly spread_ms: Summary
  readonly samples: readonly Sample[]
}

/** Number of tokens decoded in one sample. */
const steps = 16

export async function benchDecode(engine: Engine, options: BenchOptions): Promise<DecodeRow[]> {
  const runs = options.runs ?? 7
  const rows: DecodeRow[] = []
  let done = 0
  for (const context of options.lengths) {
    const samples: Sample[] = []
    for (let run = 0; run <= runs; run++) {
      const session = await engine.prefill(promptOf(engine, context))
      const sample = await timed(async () => {
        for (let step = 0; step < steps; step++) await session.step(argmax(session.logits))
      })
      session.release()
      if (run > 0) samples.push({ ms: sample.ms / steps, cpu_ms: sample.cpu_ms / steps })
      options.onProgress?.(++done, options.lengths.length * (runs + 1))
    }
    const wall = summary(samples.map((sample) => sample.ms))
    rows.push({
      context,
      ms_per_token: round(wall.median),
      cpu_ms_per_token: round(summary(samples.map((sample) => sample.cpu_ms)).median),
      tokens_per_s: round(1000 / wall.median),
      spread_ms: wall,
      samples,
    })
  }
  return rows
}

function argmax(logits: Float32Array): number {
  let best = 0
  for (let id = 1; id < logits.length; id++) if (defined(logits[id]) > defined(logits[best])) best = id
  return best
}
