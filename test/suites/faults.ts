/**
 * Makes a companion fail in every way, at random bytes and times. No token may be lost or repeated,
 * no answer may differ from the one given alone, and the answer must continue within the configured
 * patience.
 */
import assert from 'node:assert/strict'
import { Engine, type GenerateEvent, type GenerateRequest, type WasmModules, type Way } from '../../src/index.ts'
import { companionOf, type Fault, faulty, going } from '../helpers/companion.ts'
import { type Random, random } from '../helpers/random.ts'
import { tinyFiles, tinyVocab } from '../helpers/tiny-model.ts'

export interface FaultReport {
  failures: number
  /**
   * How often the companion was abandoned, by kind; otherwise the answer was complete before the
   * failure.
   */
  readonly given_up: Record<string, number>
  /**
   * The maximum extra time of an answer compared with alone, in milliseconds; `bound_ms` is the
   * limit.
   */
  worst_ms: number
  readonly bound_ms: number
}

const ways = ['remote', 'relay', 'race', 'hand-over'] as const
const kinds: readonly Fault['kind'][] = ['cut', 'end', 'flip', 'stall', 'reset', 'refuse', 'redirect', 'error', 'html']
const wait = { firstMs: 150, stallMs: 150 }
/** The router's expected time: the edge gives up after three times that, plus a second. */
const expectedMs = 100
/** Both waits, plus the delay of a busy machine that is not yet a failure of the program. */
const boundMs = wait.firstMs + wait.stallMs + 3 * expectedMs + 1000 + 10_000

export async function faults(
  wasm: WasmModules,
  count: number,
  seed: number,
  onProgress: (done: number) => void = () => {},
): Promise<FaultReport> {
  const options = { wasm, passTokens: 64 }
  const files = () => tinyFiles({ context: 512 })
  const edge = await Engine.load(files(), { ...options, prefixBytes: 1 << 22 })
  const mac = await Engine.load(files(), { ...options, prefixBytes: 0 })
  const alone = await Engine.load(files(), { ...options, prefixBytes: 0 })
  const fetch = companionOf(mac)
  const rng = random(seed)
  const report: FaultReport = { failures: 0, given_up: {}, worst_ms: 0, bound_ms: boundMs }
  try {
    for (; report.failures < count; report.failures++) {
      const at = { seed, failure: report.failures }
      const way = ways[rng.below(ways.length)]!
      const fault = faultOf(kinds[rng.below(kinds.length)]!, way, rng)
      const request = requestOf(rng)
      const expected = await answer(alone.submit(request))
      const own = faulty(fetch, () => fault)
      const taken: Way = way === 'hand-over' ? 'relay' : way
      const { routed } = going(taken, edge, own, { handOver: way === 'hand-over' }, wait, expectedMs)
      const routedAnswer = routed.submit(request)
      const got = await answer(routedAnswer)
      const told = JSON.stringify({ ...at, way, fault, request: { ...request, prompt: request.prompt.length } })
      assert.deepEqual(got.ids, expected.ids, `ids differ: ${told}`)
      assert.equal(got.text, expected.text, `texts differ: ${told}`)
      assert.deepEqual(got.done, expected.done, `the end differs: ${told}`)
      const longer = got.ms - expected.ms
      assert.ok(longer <= boundMs, `it took ${Math.round(longer)} ms longer than alone: ${told}`)
      report.worst_ms = Math.max(report.worst_ms, Math.round(longer))
      if (routedAnswer.route.fell_back) report.given_up[fault.kind] = (report.given_up[fault.kind] ?? 0) + 1
      await idle(edge, mac, told)
      if (report.failures % 100 === 99) onProgress(report.failures + 1)
    }
  } finally {
    await Promise.all([edge.close(), mac.close(), alone.close()])
  }
  return report
}

type Request = GenerateRequest & { readonly prompt: readonly number[] }

function requestOf(rng: Random): Request {
  const drawn = rng.below(3) === 0
  return {
    prompt: Array.from({ length: 33 + rng.below(200) }, () => rng.below(tinyVocab - 3)),
    maxTokens: 1 + rng.below(40),
    ignoreEos: true,
    ...(drawn && { temperature: 1, seed: rng.below(1e6), presencePenalty: 0.5 }),
  }
}

function faultOf(kind: Fault['kind'], way: (typeof ways)[number], rng: Random): Fault {
  if (kind === 'reset') return { kind, at: rng.below(40) }
  // A token is a line of about 80 bytes; a prompt's K and V are about 2 kB per token.
  return { kind, at: rng.below(way === 'relay' ? 3000 : 400_000) >> rng.below(8) }
}

async function answer(events: AsyncIterable<GenerateEvent>) {
  const begun = performance.now()
  const ids: number[] = []
  let text = ''
  let done: object | undefined
  for await (const event of events) {
    assert.equal(done, undefined, 'an event behind the end')
    if (event.type === 'token') {
      ids.push(event.id)
      text += event.text
    }
    if (event.type === 'done') done = { ids: event.ids, text: event.text, finishReason: event.finishReason }
  }
  return { ids, text, done, ms: performance.now() - begun }
}

/** Resolves when both ends have dropped the request. */
async function idle(edge: Engine, mac: Engine, told: string): Promise<void> {
  for (let tries = 0; tries < 400 && mac.stats.running + mac.stats.waiting > 0; tries++)
    await new Promise((resolve) => setTimeout(resolve, 5))
  for (const { stats } of [edge, mac]) {
    const { running, waiting, pages_in_use, prefix_pages } = stats
    assert.deepEqual(
      { running, waiting, leaked: pages_in_use - prefix_pages },
      { running: 0, waiting: 0, leaked: 0 },
      told,
    )
  }
}
