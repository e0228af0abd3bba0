/**
 * Replays a recorded trace against the scheduler in an open loop: requests come when the trace
 * says, whether or not earlier ones are done. Times count from when a request should have come, so
 * that a busy process cannot hide its own delay.
 */
import { defined } from '../src/base/at.ts'
import { type Engine, ForetokenError } from '../src/index.ts'
import { cpuMs, mean, type Percentiles, percentiles, round, sum } from './stats.ts'
import type { TraceRow } from './traces.ts'

export type { Percentiles }

export interface ReplayResult {
  readonly requests: number
  readonly failed: number
  readonly seconds: number
  readonly prompt_tokens: number
  readonly output_tokens: number
  /** Share of the prompt tokens that were found in the prefix cache. */
  readonly prefix_hit_rate: number
  readonly ttft_ms: Percentiles
  /** Milliseconds between one token and the next of the same answer. */
  readonly itl_ms: Percentiles
  readonly e2e_ms: Percentiles
  /**
   * Requests a second whose TTFT and mean inter-token time are within the bounds, and their share
   * of all.
   */
  readonly goodput: { readonly per_s: number; readonly share: number }
  readonly cpu_s: number
  readonly ttfts: readonly number[]
}

export interface Bounds {
  readonly ttftMs: number
  readonly itlMs: number
}

interface Served {
  readonly ttft: number
  readonly gaps: readonly number[]
  readonly e2e: number
  readonly tokens: number
  readonly cached: number
}

/** Replays a trace. Answers are as long as the trace says, wherever the model would stop. */
export async function replay(
  engine: Engine,
  rows: readonly TraceRow[],
  prompts: readonly (readonly number[])[],
  bounds: Bounds,
  onProgress?: (done: number, total: number) => void,
): Promise<ReplayResult> {
  const begun = performance.now()
  const cpu = cpuMs()
  let done = 0
  const served = await Promise.all(
    rows.map(async (row, index) => {
      const due = begun + row.at_ms
      await until(due)
      const one = await serve(engine, defined(prompts[index]), row.output_tokens, due).catch((error) => {
        // A refusal is part of the measurement; any other error means a broken benchmark.
        if (error instanceof ForetokenError && error.code === 'busy') return undefined
        throw error
      })
      onProgress?.(++done, rows.length)
      return one
    }),
  )
  const seconds = (performance.now() - begun) / 1000
  const cpuSeconds = (cpuMs() - cpu) / 1000
  const good = served.filter((one) => one !== undefined)
  const promptTokens = sum(prompts.map(({ length }) => length))
  const within = good.filter(({ ttft, gaps }) => ttft <= bounds.ttftMs && mean(gaps) <= bounds.itlMs).length
  return {
    requests: rows.length,
    failed: rows.length - good.length,
    seconds: round(seconds, 4),
    prompt_tokens: promptTokens,
    output_tokens: sum(good.map(({ tokens }) => tokens)),
    prefix_hit_rate: round(sum(good.map(({ cached }) => cached)) / promptTokens, 4),
    ttft_ms: percentiles(good.map(({ ttft }) => ttft)),
    itl_ms: percentiles(good.flatMap(({ gaps }) => gaps)),
    e2e_ms: percentiles(good.map(({ e2e }) => e2e)),
    goodput: { per_s: round(within / seconds), share: round(within / rows.length) },
    cpu_s: round(cpuSeconds, 4),
    ttfts: good.map(({ ttft }) => round(ttft, 4)),
  }
}

/** Timers may fire a millisecond early, and a request must not come before it is due. */
async function until(due: number): Promise<void> {
  for (let left = due - performance.now(); left > 0; left = due - performance.now())
    await new Promise((resolve) => setTimeout(resolve, Math.ceil(left)))
}

/**
 * Returns the requests a second that the engine serves one by one, back to back; `--load` is a
 * share of it.
 */
export async function capacityOf(
  engine: Engine,
  rows: readonly TraceRow[],
  prompts: readonly (readonly number[])[],
): Promise<number> {
  const begun = performance.now()
  for (const [index, row] of rows.entries()) await serve(engine, defined(prompts[index]), row.output_tokens, begun)
  return (rows.length * 1000) / (performance.now() - begun)
}

async function serve(engine: Engine, prompt: readonly number[], maxTokens: number, due: number): Promise<Served> {
  const times: number[] = []
  let cached = 0
  for await (const event of engine.submit({ prompt, maxTokens, ignoreEos: true })) {
    if (event.type === 'token') times.push(performance.now() - due)
    if (event.type === 'done') cached = event.cached_tokens
  }
  const gaps = times.slice(1).map((time, index) => time - defined(times[index]))
  return { ttft: defined(times[0]), gaps, e2e: defined(times.at(-1)), tokens: times.length, cached }
}
