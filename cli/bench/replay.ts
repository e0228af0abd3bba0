/**
 * `foretoken bench replay`: replays a recorded trace on the scheduler, and first come, first
 * served.
 */
import { type IdealHits, idealHits } from '../../bench/ideal-hits.ts'
import { machine } from '../../bench/machine.ts'
import { distributionChart } from '../../bench/plot.ts'
import { capacityOf, type Percentiles, type ReplayResult, replay } from '../../bench/replay.ts'
import { atRate, promptsOf, readTrace, scaleTrace, type TraceRow, traceBlock } from '../../bench/traces.ts'
import { type EngineOptions, pageTokens } from '../../node/index.ts'
import type { Flags } from '../flags.ts'
import { startSeed } from '../parse.ts'
import { open } from '../session.ts'
import { print, StatusLine } from '../terminal.ts'
import { write } from './prepack.ts'

/** Number of requests that measure the capacity. */
const probeRequests = 16

/** The schedules that are compared. */
const contenders: Readonly<Record<string, EngineOptions['schedule']>> = {
  scheduler: {},
  'first come, one at a time': { order: 'arrival', maxRunning: 1 },
}

export async function benchReplayCommand(path: string, flags: Flags, signal: AbortSignal): Promise<void> {
  const { requests = 100, load = 0.8 } = flags
  const seed = startSeed(flags)
  const mostPrompt = flags['most-prompt'] ?? 1024
  const mostOutput = flags['most-output'] ?? 1024
  const pages = flags['prefix-pages'] ?? 1024
  const bounds = { ttftMs: flags['ttft-bound'] ?? 1000, itlMs: flags['itl-bound'] ?? 100 }
  const trace = await readTrace(path)
  const scale = flags.scale ?? Math.min(1, mostPrompt / Math.max(...trace.map((row) => row.prompt_tokens)))
  const rows = scaleTrace(trace, { scale, mostPrompt, mostOutput, requests })
  const context = Math.max(...rows.map((row) => row.prompt_tokens + row.output_tokens)) + 1
  const results: Record<string, ReplayResult> = {}
  const line = new StatusLine()
  line.show('measuring the capacity of one request at a time', true)
  const probed = await probe(rows, flags, context, seed, signal)
  const { rate = load * probed.capacity } = flags
  const prompts = promptsOf(rows, {
    vocab: probed.vocab,
    blockTokens: Math.max(1, Math.round(traceBlock * scale)),
    seed,
  })
  const ideal = idealHits(prompts, pageTokens, pages)
  let about = {}
  for (const [name, schedule] of Object.entries(contenders)) {
    const { model, engine } = await open({ kv: 'int8', ...flags }, signal, {
      context,
      // Room for the prefixes and for the running requests.
      kvTokens: pages * pageTokens + 16 * context,
      prefixBytes: pages * probed.pageBytes,
      schedule: { ...schedule, maxWaiting: 1_000_000 },
    })
    try {
      results[name] = await replay(engine, atRate(rows, rate), prompts, bounds, (done, total) => {
        signal.throwIfAborted()
        line.show(`${name}  ${done} of ${total} requests`)
      })
      about = { model, build: engine.backend.build, threads: engine.backend.threads }
    } finally {
      line.clear()
      await engine.close()
    }
  }
  const settings = {
    trace: path,
    scale,
    requests: rows.length,
    rate_per_s: rate,
    capacity_per_s: probed.capacity,
    load: rate / probed.capacity,
    seed,
    bounds,
    prefix_pages: pages,
  }
  const heading = `${rows.length} requests at ${rate.toPrecision(3)} a second`
  if (flags.json) print(JSON.stringify({ bench: 'replay', ...about, machine: machine(), ...settings, ideal, results }))
  else print([`${path} · ${heading}`, ...table(results), ...idealLines(ideal)].join('\n'))
  if (flags.plot !== undefined) await write(flags.plot, plot(results, heading))
}

/**
 * Measures the capacity of one request at a time, in requests a second, with requests from the
 * whole trace, and returns it with facts about the engine. The prompts are generated for this only,
 * so the prefix cache never has their beginnings.
 */
async function probe(
  rows: readonly TraceRow[],
  flags: Flags,
  context: number,
  seed: number,
  signal: AbortSignal,
): Promise<{ capacity: number; vocab: number; pageBytes: number }> {
  const { engine } = await open({ kv: 'int8', ...flags }, signal, { context, prefixBytes: 0 })
  try {
    const step = Math.max(1, Math.floor(rows.length / probeRequests))
    const sample = rows.filter((_, index) => index % step === 0).map(({ blocks: _, ...row }) => row)
    const { vocab } = engine.archive.config
    const capacity = await capacityOf(
      engine,
      sample,
      promptsOf(sample, { vocab, blockTokens: traceBlock, seed: seed + 1 }),
    )
    return { capacity, vocab, pageBytes: engine.pageBytes }
  } finally {
    await engine.close()
  }
}

function table(results: Readonly<Record<string, ReplayResult>>): string[] {
  const of = ({ p50, p95, p99 }: Percentiles) => [p50, p95, p99].map(Math.round).join(' / ')
  return Object.entries(results).flatMap(([name, result]) => [
    name,
    `  TTFT p50 / p95 / p99   ${of(result.ttft_ms)} ms`,
    `  between tokens         ${of(result.itl_ms)} ms`,
    `  end to end             ${of(result.e2e_ms)} ms`,
    `  goodput                ${result.goodput.per_s} a second (${Math.round(100 * result.goodput.share)} %)`,
    `  prefix hits            ${percent(result.prefix_hit_rate)} of prompt tokens`,
  ])
}

function idealLines({ tokens, lru, best }: IdealHits): string[] {
  return [
    'possible hits of a cache of this size, with requests one after another',
    `  least recently used    ${percent(lru / tokens)}`,
    `  knowing the future     ${percent(best / tokens)}`,
  ]
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}

function plot(results: Readonly<Record<string, ReplayResult>>, subtitle: string): string {
  const sets = Object.entries(results).map(([name, { ttfts }]) => ({ name, values: ttfts }))
  return distributionChart({ title: 'Time to first token', subtitle, x: { label: 'ms', log: true } }, sets)
}
