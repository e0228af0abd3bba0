/**
 * Runs thousands of mixed requests on one engine: random arrivals, lengths, budgets, tenants,
 * shared prefixes, cancellations, refusals and evictions. Every finished answer must equal the one
 * given alone.
 */
import { type Engine, ForetokenError, type GenerateRequest, type MemoryBalance, pageTokens } from '../../src/index.ts'
import { prefillModes } from '../../src/predict/choice.ts'
import { type Random, random } from '../helpers/random.ts'

export interface SoakOptions {
  readonly requests: number
  readonly seed: number
  /** Number of finished requests that are run again, alone. */
  readonly sample: number
  readonly onProgress?: (done: number) => void
}

export interface SoakReport {
  readonly seed: number
  readonly finished: number
  readonly cancelled: number
  readonly refused: number
  readonly invalid: number
  readonly tokens: number
  readonly cached_tokens: number
  readonly preemptions: number
  readonly passes: number
  /** Number of sampled requests, and how many of them were wrong. */
  readonly compared: number
  readonly wrong: number
  /** Pages held at the end besides those of cached prefixes. */
  readonly leaked_pages: number
  /** The memory balance before any request, and at the end. */
  readonly memory: readonly [MemoryBalance, MemoryBalance]
  /** Maximum size of weights, tables and pages in use, in bytes. */
  readonly live_bytes: number
  /** Size of the JS heap after a tenth of the requests, and at the end. */
  readonly heap_bytes: readonly [number, number]
}

/**
 * Returns true if memory followed its use from the start, within 15 % and a few idle pages, and no
 * table has grown.
 */
export function isBounded({ memory: [before, after], live_bytes }: SoakReport): boolean {
  const { total, weights, pools, tables, free } = after
  const exact = weights + pools + tables + free === total
  return exact && weights === before.weights && tables <= 1.15 * before.tables && total <= 1.15 * live_bytes + (1 << 20)
}

/**
 * Runs the requests on `shared`, an engine with few KV tokens and a prefix cache. `alone` has the
 * same weights and ample room. With a predictor, some requests are predicted, refined or automatic;
 * for them only the bookkeeping is compared, since a cached prefix is exact.
 */
export async function soak(shared: Engine, alone: Engine, options: SoakOptions): Promise<SoakReport> {
  const rng = random(options.seed)
  const openings = Array.from({ length: 6 }, () => ids(rng, 200, shared))
  const count = { finished: 0, cancelled: 0, refused: 0, invalid: 0, tokens: 0, cached_tokens: 0 }
  const sample: { request: GenerateRequest; ids: readonly number[] }[] = []
  // Nothing is allocated beforehand: memory has to follow its use.
  const before = shared.backend.memory()
  let pages = 0
  const flying = new Set<Promise<void>>()
  let most = 1
  let early = 0
  for (let number = 0; number < options.requests; number++) {
    // Load alternates between quiet and crowded.
    if (number % 50 === 0) most = 4 + rng.below(70)
    while (flying.size >= most) await Promise.race(flying)
    const work = one(mixedRequest(rng, shared, openings), rng).finally(() => flying.delete(work))
    flying.add(work)
    // Some requests arrive in bursts, others after earlier ones have run for a while.
    if (rng.below(4) === 0) for (let turn = rng.below(6); turn > 0; turn--) await tick()
    if (number === Math.floor(options.requests / 10)) early = heap()
    if (number % 100 === 0) options.onProgress?.(number)
  }
  await Promise.all(flying)
  let wrong = 0
  for (const { request, ids } of sample) {
    const expected = await alone.submit(request).result()
    if (JSON.stringify(expected.ids) !== JSON.stringify(ids)) wrong++
  }
  const { pages_in_use, prefix_pages, preemptions, passes } = shared.stats
  const after = shared.backend.memory()
  return {
    seed: options.seed,
    ...count,
    preemptions,
    passes,
    compared: sample.length,
    wrong,
    leaked_pages: pages_in_use - prefix_pages,
    memory: [before, after],
    live_bytes: before.weights + after.tables + pages * shared.pageBytes,
    heap_bytes: [early, heap()],
  }

  async function one(request: GenerateRequest, rng: Random): Promise<void> {
    const cancelAfter = rng.below(4) === 0 ? rng.below(20) : Infinity
    const way = rng.below(3)
    const exact = request.prefill === undefined
    const pick = exact && rng.unit() < (3 * options.sample) / options.requests
    const controller = new AbortController()
    try {
      const submission = shared.submit({ ...request, signal: controller.signal })
      if (cancelAfter < 3 && way === 0) for (let turn = cancelAfter; turn > 0; turn--) await tick()
      let events = 0
      for await (const event of submission) {
        pages = Math.max(pages, shared.stats.pages_in_use)
        if (events++ === cancelAfter) {
          if (way === 0) controller.abort()
          else if (way === 1) submission.cancel()
          else break
        }
        if (event.type !== 'done') continue
        count.finished++
        count.tokens += event.timings.prompt_tokens + event.ids.length
        count.cached_tokens += event.cached_tokens
        if (pick && sample.length < options.sample) sample.push({ request, ids: event.ids })
        return
      }
      count.cancelled++
    } catch (error) {
      const code = error instanceof ForetokenError ? error.code : undefined
      if (code === 'aborted') count.cancelled++
      else if (code === 'busy') count.refused++
      else if (code === 'context_exceeded' || code === 'empty_prompt' || code === 'bad_argument') count.invalid++
      else throw error
    }
  }
}

function mixedRequest(rng: Random, engine: Engine, openings: readonly (readonly number[])[]): GenerateRequest {
  const { context } = engine
  if (rng.below(50) === 0) return { prompt: [[], ids(rng, context + 5, engine), [-1], [1e9]][rng.below(4)]! }
  const opening = openings[rng.below(openings.length)]!.slice(0, rng.below(3) === 0 ? 0 : rng.below(200))
  // Lengths are short and long, including whole pages and single tokens.
  const own = [0, 1, pageTokens, rng.below(20), rng.below(150)][rng.below(5)]!
  const prompt = [...opening, ...ids(rng, own, engine)].slice(0, context - 2)
  return {
    prompt: prompt.length === 0 ? [1] : prompt,
    maxTokens: [0, 1, rng.below(20), rng.below(80)][rng.below(4)]!,
    ignoreEos: rng.below(2) === 0,
    tenant: ['', 'a', 'b'][rng.below(3)]!,
    ...(rng.below(3) === 0 && { temperature: 1, topK: 20, seed: rng.below(1000) }),
    ...(engine.predictor && rng.below(2) === 0 && { prefill: prefillModes[rng.below(4)]! }),
  }
}

function ids(rng: Random, length: number, engine: Engine): number[] {
  return Array.from({ length }, () => 3 + rng.below(engine.archive.config.vocab - 3))
}

function heap(): number {
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

function tick(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
