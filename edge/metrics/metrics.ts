/** The metrics of a server. Labels come from closed lists: no client's text becomes one. */
import type { AnyEngine, DoneEvent, ModelStatus, RouteReport } from '../../src/index.ts'
import type { Models } from '../models.ts'
import type { CompanionState } from '../route/routes.ts'
import { Counter, type Gauge, gaugeLines, HistogramSet, type Labels, labelledGaugeLines } from './registry.ts'

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

  token(milliseconds: number, prefill: DoneEvent['prefill'], model: string | undefined): void {
    this.#between.observe(milliseconds / 1000, { ...labelsOf(model), prefill })
  }

  /** Counts a complete answer; of several answers to one prompt only the `first` has read it. */
  answered({ timings, prefill, cached_tokens, ids }: DoneEvent, first: boolean, name: string | undefined): void {
    const model = labelsOf(name)
    this.#tokens.add(ids.length, { ...model, kind: 'completion' })
    if (!first) return
    this.#tokens.add(timings.prompt_tokens, { ...model, kind: 'prompt' })
    this.#tokens.add(cached_tokens, { ...model, kind: 'cached' })
    if (ids.length > 0) this.#ttft.observe(timings.ttft_ms / 1000, { ...model, prefill })
    this.#queue.observe(timings.queue_ms / 1000, { ...model, prefill })
    this.#prefill.observe(timings.prefill_ms / 1000, { ...model, prefill })
  }

  /** Counts the tokens of texts of which embeddings or scores were made. */
  embedded(tokens: number, model: string | undefined): void {
    this.#tokens.add(tokens, { ...labelsOf(model), kind: 'embedded' })
  }

  /** Counts a complete answer for which the router had a choice. */
  routed({ way, predicted_ms, actual_ms, fell_back }: RouteReport, name: string | undefined): void {
    const model = labelsOf(name)
    this.#routes.add(1, { ...model, way, fell_back: fell_back === undefined ? 'no' : 'yes' })
    if (actual_ms === undefined) return
    this.#routeTtft.observe(actual_ms / 1000, { ...model, way })
    this.#routePredicted.observe(predicted_ms / 1000, { ...model, way })
  }

  /** Returns all metrics as text for Prometheus. */
  text(
    models: Pick<Models, 'several' | 'ready' | 'loaded' | 'statuses'>,
    held: Held,
    companions: readonly CompanionState[],
  ): string {
    const counted = [this.#requests, this.#refusals, this.#aborts, this.#tokens, this.#routes]
    const timed = [this.#ttft, this.#between, this.#queue, this.#prefill, this.#routeTtft, this.#routePredicted]
    const lines = [
      ...[...counted, ...timed].flatMap((metric) => metric.lines()),
      ...gaugeLines({
        name: 'foretoken_ready',
        help: 'Whether the only model is loaded; of several each is loaded when it is used.',
        value: models.ready ? 1 : 0,
      }),
      ...heldLines(held),
      ...companionLines(companions, models.several),
      ...modelLines(models.statuses),
      ...engineLines(
        models.loaded.map(({ model, engine }) => ({ labels: labelsOf(models.several ? model : undefined), engine })),
      ),
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

/** Labels of what belongs to one model of several. A model's name comes from the operator. */
function labelsOf(model: string | undefined): Labels {
  return model === undefined ? {} : { model }
}

/** Returns the state of each companion; their names come from the operator's config. */
function companionLines(companions: readonly CompanionState[], several: boolean): string[] {
  const name = 'foretoken_companion_up'
  const help = 'Whether a companion is in use: 1 yes, 0.5 the next request tries it, 0 not for a while.'
  return labelledGaugeLines(
    { name, help },
    companions.map(({ model, name, up }) => [{ ...labelsOf(several ? model : undefined), companion: name }, up]),
  )
}

/** Returns the state of each model of several. */
function modelLines(statuses: readonly ModelStatus[]): string[] {
  const of = (value: (status: ModelStatus) => number) =>
    statuses.map((status): [Labels, number] => [labelsOf(status.name), value(status)])
  const loads = statuses.flatMap(({ name, loads, failures }): [Labels, number][] => [
    [{ model: name, outcome: 'loaded' }, loads],
    [{ model: name, outcome: 'failed' }, failures],
  ])
  const counter = { type: 'counter' } as const
  return [
    ...labelledGaugeLines(
      { name: 'foretoken_model_loaded', help: 'Whether a model is in memory.' },
      of(({ state }) => (state === 'loaded' ? 1 : 0)),
    ),
    ...labelledGaugeLines(
      { name: 'foretoken_model_requests', help: 'Requests that use a model.' },
      of(({ uses }) => uses),
    ),
    ...labelledGaugeLines(
      { name: 'foretoken_model_waiting', help: 'Requests that wait for a model to be loaded.' },
      of(({ waiting }) => waiting),
    ),
    ...labelledGaugeLines(
      { name: 'foretoken_model_loads_total', help: 'Loads of a model, by outcome.', ...counter },
      loads,
    ),
    ...labelledGaugeLines(
      { name: 'foretoken_model_unloads_total', help: 'How often a model was unloaded.', ...counter },
      of(({ unloads }) => unloads),
    ),
  ]
}

interface LabelledEngine {
  readonly labels: Labels
  readonly engine: AnyEngine
}

/** Returns the state of each engine, and the balance of its core's memory, whose parts sum up to `foretoken_wasm_bytes`. */
function engineLines(engines: readonly LabelledEngine[]): string[] {
  const balances = engines.flatMap(({ labels, engine }) => {
    const { weights, pools, tables, free } = engine.backend.memory?.() ?? {}
    if (weights === undefined) return []
    return Object.entries({ weights, pools, tables, free }).map(([part, bytes = 0]): [Labels, number] => [
      { ...labels, part },
      bytes,
    ])
  })
  const help = 'Use of the core’s memory; free is slack. The parts sum up to the total.'
  return [
    ...labelledGaugeLines({ name: 'foretoken_memory_bytes', help }, balances),
    ...engineMetrics.flatMap(({ value, ...metric }) =>
      labelledGaugeLines(
        metric,
        engines.map(({ labels, engine }): [Labels, number] => [labels, value(engine)]),
      ),
    ),
  ]
}

interface EngineMetric extends Omit<Gauge, 'value'> {
  value(engine: AnyEngine): number
}

const counter = { type: 'counter' } as const

const engineMetrics: readonly EngineMetric[] = [
  { name: 'foretoken_running', help: 'Requests that hold KV pages.', value: ({ stats }) => stats.running },
  { name: 'foretoken_waiting', help: 'Requests that wait for KV pages.', value: ({ stats }) => stats.waiting },
  {
    name: 'foretoken_kv_pages_in_use',
    help: 'KV pages of 16 tokens in use, cached prefixes included.',
    value: ({ stats }) => stats.pages_in_use,
  },
  { name: 'foretoken_prefix_pages', help: 'KV pages of cached prefixes.', value: ({ stats }) => stats.prefix_pages },
  { name: 'foretoken_chunk_bytes', help: 'K and V of chunks that are kept.', value: ({ stats }) => stats.chunk_bytes },
  { name: 'foretoken_wasm_bytes', help: 'Memory of the core.', value: ({ backend }) => backend.memoryBytes() },
  { name: 'foretoken_passes_total', help: 'Passes through the model.', ...counter, value: ({ stats }) => stats.passes },
  {
    name: 'foretoken_prefill_tokens_total',
    help: 'Prompt tokens that were computed.',
    ...counter,
    value: ({ stats }) => stats.prefill_tokens,
  },
  {
    name: 'foretoken_prefix_hit_tokens_total',
    help: 'Prompt tokens found in the prefix cache.',
    ...counter,
    value: ({ stats }) => stats.cached_tokens,
  },
  {
    name: 'foretoken_decode_tokens_total',
    help: 'Decode steps.',
    ...counter,
    value: ({ stats }) => stats.decode_tokens,
  },
  {
    name: 'foretoken_preemptions_total',
    help: 'Requests that lost their pages and had to be computed again.',
    ...counter,
    value: ({ stats }) => stats.preemptions,
  },
]
