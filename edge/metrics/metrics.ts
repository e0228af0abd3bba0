/** The metrics of a server. Labels come from closed lists: no client's text becomes one. */
import type { AnyEngine, DoneEvent, MemoryBalance, RouteReport } from '../../src/index.ts'
import type { CompanionState } from '../route/routes.ts'
import { Counter, gaugeLines, HistogramSet, labelledGaugeLines } from './registry.ts'

/** Bucket bounds, in seconds. */
const short = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]
const long = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

/** Resources that requests hold at the moment. */
export interface Held {
  readonly answers: number
  readonly waiting: number
  readonly bodyBytes: number
  readonly downloads: number
}

export class Metrics {
  readonly #requests = new Counter('foretoken_requests_total', 'Requests, by route and status.')
  readonly #refusals = new Counter('foretoken_refusals_total', 'Requests refused before an answer began, by code.')
  readonly #aborts = new Counter(
    'foretoken_aborts_total',
    'Requests that were aborted, by cause: gone, stalled or timeout.',
  )
  readonly #tokens = new Counter(
    'foretoken_tokens_total',
    'Tokens of complete answers: prompt, those of it that were cached, completion; and of embedded or ranked texts.',
  )
  readonly #ttft = new HistogramSet('foretoken_ttft_seconds', 'Time from the request to its first token.', long)
  readonly #between = new HistogramSet('foretoken_inter_token_seconds', 'Time between two tokens of an answer.', short)
  readonly #queue = new HistogramSet('foretoken_queue_seconds', 'Time spent waiting for other requests.', long)
  readonly #prefill = new HistogramSet('foretoken_prefill_seconds', 'Time spent reading the prompt.', long)

  readonly #routes = new Counter(
    'foretoken_routes_total',
    'Answers by route (local, remote, relay, race), and whether they fell back to this engine.',
  )
  readonly #routeTtft = new HistogramSet('foretoken_route_ttft_seconds', 'Time to the first token, by route.', long)
  readonly #routePredicted = new HistogramSet(
    'foretoken_route_predicted_seconds',
    'Time to the first token that the router predicted, by route.',
    long,
  )

  request(route: string, status: number): void {
    this.#requests.add(1, { route, status: String(status) })
  }

  refused(code: string): void {
    this.#refusals.add(1, { code })
  }

  aborted(by: 'gone' | 'stalled' | 'timeout'): void {
    this.#aborts.add(1, { by })
  }

  token(milliseconds: number, prefill: DoneEvent['prefill']): void {
    this.#between.observe(milliseconds / 1000, { prefill })
  }

  /** Counts a complete answer; of several answers to one prompt only the `first` has read it. */
  answered({ timings, prefill, cached_tokens, ids }: DoneEvent, first: boolean): void {
    this.#tokens.add(ids.length, { kind: 'completion' })
    if (!first) return
    this.#tokens.add(timings.prompt_tokens, { kind: 'prompt' })
    this.#tokens.add(cached_tokens, { kind: 'cached' })
    if (ids.length > 0) this.#ttft.observe(timings.ttft_ms / 1000, { prefill })
    this.#queue.observe(timings.queue_ms / 1000, { prefill })
    this.#prefill.observe(timings.prefill_ms / 1000, { prefill })
  }

  /** Counts the tokens of texts of which embeddings or scores were made. */
  embedded(tokens: number): void {
    this.#tokens.add(tokens, { kind: 'embedded' })
  }

  /** Counts a complete answer for which the router had a choice. */
  routed({ way, predicted_ms, actual_ms, fell_back }: RouteReport): void {
    this.#routes.add(1, { way, fell_back: fell_back === undefined ? 'no' : 'yes' })
    if (actual_ms === undefined) return
    this.#routeTtft.observe(actual_ms / 1000, { way })
    this.#routePredicted.observe(predicted_ms / 1000, { way })
  }

  /** Returns all metrics as text for Prometheus. */
  text(engine: AnyEngine | undefined, held: Held, companions: readonly CompanionState[]): string {
    const counted = [this.#requests, this.#refusals, this.#aborts, this.#tokens, this.#routes]
    const timed = [this.#ttft, this.#between, this.#queue, this.#prefill, this.#routeTtft, this.#routePredicted]
    const lines = [
      ...[...counted, ...timed].flatMap((metric) => metric.lines()),
      ...gaugeLines({ name: 'foretoken_ready', help: 'Whether the model is loaded.', value: engine ? 1 : 0 }),
      ...heldLines(held),
      ...companionLines(companions),
      ...(engine ? engineLines(engine) : []),
    ]
    return `${lines.join('\n')}\n`
  }
}

function heldLines({ answers, waiting, bodyBytes, downloads }: Held): string[] {
  const gauges = [
    ['answers', 'Answers being generated.', answers],
    ['admission_waiting', 'Requests that wait for admission.', waiting],
    ['body_bytes', 'Bytes of request bodies in memory, counting 16 KiB extra for each request.', bodyBytes],
    ['downloads', 'Model files being sent to pages.', downloads],
  ] as const
  return gauges.flatMap(([name, help, value]) => gaugeLines({ name: `foretoken_${name}`, help, value }))
}

/** Returns the state of each companion; their names come from the operator's config. */
function companionLines(companions: readonly CompanionState[]): string[] {
  const name = 'foretoken_companion_up'
  const help = 'Whether a companion is in use: 1 yes, 0.5 the next request tries it, 0 not for a while.'
  return labelledGaugeLines(
    { name, help },
    companions.map((companion) => [{ companion: companion.name }, companion.up]),
  )
}

/** Returns the balance of the core's memory; the parts sum up to `foretoken_wasm_bytes`. */
function balanceLines({ weights, pools, tables, free }: MemoryBalance): string[] {
  const name = 'foretoken_memory_bytes'
  const help = 'Use of the core’s memory; free is slack. The parts sum up to the total.'
  return labelledGaugeLines(
    { name, help },
    Object.entries({ weights, pools, tables, free }).map(([part, bytes]) => [{ part }, bytes]),
  )
}

function engineLines({ stats, backend }: AnyEngine): string[] {
  const gauges = [
    ['running', 'Requests that hold KV pages.', stats.running],
    ['waiting', 'Requests that wait for KV pages.', stats.waiting],
    ['kv_pages_in_use', 'KV pages of 16 tokens in use, cached prefixes included.', stats.pages_in_use],
    ['prefix_pages', 'KV pages of cached prefixes.', stats.prefix_pages],
    ['wasm_bytes', 'Memory of the core.', backend.memoryBytes()],
  ] as const
  const counters = [
    ['passes_total', 'Passes through the model.', stats.passes],
    ['prefill_tokens_total', 'Prompt tokens that were computed.', stats.prefill_tokens],
    ['prefix_hit_tokens_total', 'Prompt tokens found in the prefix cache.', stats.cached_tokens],
    ['decode_tokens_total', 'Decode steps.', stats.decode_tokens],
    ['preemptions_total', 'Requests that lost their pages and had to be computed again.', stats.preemptions],
  ] as const
  const balance = backend.memory?.()
  return [
    ...(balance ? balanceLines(balance) : []),
    ...gauges.flatMap(([name, help, value]) => gaugeLines({ name: `foretoken_${name}`, help, value })),
    ...counters.flatMap(([name, help, value]) =>
      gaugeLines({ name: `foretoken_${name}`, help, value, type: 'counter' }),
    ),
  ]
}
