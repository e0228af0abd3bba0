/**
 * Runs random commands on a whole engine with a predictor, as `scheduler-model.ts` does on a fake
 * model: with sampling, stop strings, readers that stall, sessions, scores, and K and V that
 * another engine sends. Exact answers are compared with those given alone.
 */
import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import type { DoneEvent, Engine, GenerateRequest, Guide } from '../../src/index.ts'
import { ForetokenError, pageTokens } from '../../src/index.ts'
import { type Random, random } from '../helpers/random.ts'

export interface Engines {
  /** The engine under test, with few pages and a prefix cache. */
  readonly shared: Engine
  /** The same engine with ample room and without a prefix cache. */
  readonly alone: Engine
}

export interface EngineReport {
  readonly seed: number
  readonly commands: number
  readonly whole: number
  readonly cut: number
  readonly failed: number
  readonly compared: number
  readonly preemptions: number
  readonly cached_tokens: number
}

interface Running {
  readonly request: GenerateRequest
  readonly controller: AbortController
  readonly ids: number[]
  readonly thrown: unknown[]
  /** Resolves when its reader may read on. */
  pause: Promise<void>
  resume: () => void
  done: DoneEvent | undefined
  error: ForetokenError | undefined
  finished: Promise<void>
}

const key = new Uint8Array(32).fill(7)

export async function checkEngine({ shared, alone }: Engines, commands: number, seed: number): Promise<EngineReport> {
  const rng = random(seed)
  const openings = Array.from({ length: 3 }, () => idsOf(rng, 120))
  const running: Running[] = []
  const all: Running[] = []
  const sessions: { release(): void }[] = []
  const others: Promise<void>[] = []
  const count = { whole: 0, cut: 0, failed: 0, compared: 0 }

  for (let command = 0; command < commands; command++) {
    await one(rng.below(12))
    for (const state of all) if (state.done || state.error) assert.equal(listeners(state), 0, 'listeners are left')
    const { pages_in_use, prefix_pages } = shared.stats
    assert.ok(prefix_pages <= pages_in_use && pages_in_use * pageTokens <= 512)
  }
  for (const session of sessions) session.release()
  // A request that ends may have submitted another.
  for (let known = -1; known < all.length + others.length; ) {
    known = all.length + others.length
    for (const { resume } of running) resume()
    await Promise.all([...all.map(({ finished }) => finished), ...others])
  }
  const { pages_in_use, prefix_pages, running: left, waiting, preemptions, cached_tokens } = shared.stats
  assert.deepEqual([left, waiting, pages_in_use - prefix_pages], [0, 0, 0], 'pages or requests are left')
  for (const state of all) await judge(state)
  return { seed, commands, ...count, preemptions, cached_tokens }

  async function one(kind: number): Promise<void> {
    const some = running[rng.below(Math.max(1, running.length))]
    if (kind < 4) submit()
    else if (kind < 7) for (let turn = rng.below(30); turn >= 0; turn--) await tick()
    else if (kind === 7) some?.controller.abort()
    else if (kind === 8 && some) {
      some.resume()
      const { promise, resolve } = Promise.withResolvers<void>()
      if (rng.below(2) === 0) Object.assign(some, { pause: promise, resume: resolve })
    } else if (kind === 9) await hold()
    else if (kind === 10) others.push(receive())
    else others.push(quietly(shared.score(idsOf(rng, 1 + rng.below(60)))))
  }

  function submit(): void {
    const controller = new AbortController()
    const thrown: unknown[] = []
    const request = mixed(rng, openings)
    const act = rng.below(12)
    const victim = running[rng.below(Math.max(1, running.length))]
    let calls = 0
    const at = 1 + rng.below(3)
    const onPrefill = () => {
      if (++calls !== at) return
      if (act === 0) controller.abort()
      else if (act === 1) victim?.controller.abort()
      else if (act === 2) submit()
      else if (act === 3) {
        thrown.push(new Error(`thrown by ${all.indexOf(state)}`))
        throw thrown[0]
      } else if (act === 4) others.push(quietly(shared.score(idsOf(rng, 20))))
    }
    const state: Running = {
      request,
      controller,
      thrown,
      ids: [],
      pause: Promise.resolve(),
      resume: () => {},
      done: undefined,
      error: undefined,
      finished: Promise.resolve(),
    }
    let submission: ReturnType<Engine['submit']>
    try {
      submission = shared.submit({ ...request, onPrefill, signal: controller.signal })
    } catch (error) {
      assert.equal((error as ForetokenError).code, 'busy')
      return
    }
    all.push(state)
    running.push(state)
    state.finished = read(state, submission).finally(() => running.splice(running.indexOf(state), 1))
  }

  async function read(state: Running, submission: ReturnType<Engine['submit']>): Promise<void> {
    try {
      for await (const event of submission) {
        if (event.type === 'token') state.ids.push(event.id)
        if (event.type === 'done') state.done = event
        await state.pause
      }
    } catch (error) {
      assert.ok(error instanceof ForetokenError, String(error))
      state.error = error
    }
  }

  async function hold(): Promise<void> {
    if (sessions.length > 0 && rng.below(2) === 0) {
      sessions.shift()!.release()
      return
    }
    try {
      sessions.push(await shared.prefill(idsOf(rng, 1 + rng.below(100))))
    } catch (error) {
      assert.equal((error as ForetokenError).code, 'out_of_pages')
    }
  }

  /** Receives a prompt's K and V from the other engine. */
  async function receive(): Promise<void> {
    const ids = [...openings[rng.below(3)]!.slice(0, 40 + rng.below(80)), ...idsOf(rng, 20)]
    const tenant = tenants[rng.below(3)]!
    const expected = shared.expectKv(ids, { tenant })
    const { from, to } = expected
    try {
      if (from < to) await expected.receive(alone.kvOf(ids, { codec: 'f32', key, from, to }), { key, codecs: ['f32'] })
    } catch (error) {
      assert.equal((error as ForetokenError).code, 'out_of_pages', String(error))
    } finally {
      expected.release()
    }
  }

  async function judge(state: Running): Promise<void> {
    const { request, done, error, ids, thrown, controller } = state
    if (error) {
      if (error.code === 'aborted') assert.ok(controller.signal.aborted, 'aborted by nobody')
      else if (error.code === 'bad_argument') assert.equal(error.cause, thrown[0], "another's error")
      else assert.ok(error.code === 'out_of_pages' || error.code === 'busy', `${error.code}: ${error.message}`)
    }
    count[done ? 'whole' : error?.code === 'aborted' ? 'cut' : 'failed']++
    if (request.prefill !== undefined) return
    const itself = await alone.submit(request).result()
    count.compared++
    assert.deepEqual(ids, itself.ids.slice(0, ids.length), 'other tokens than alone')
    if (done) assert.deepEqual([done.ids, done.text, done.finishReason], [itself.ids, itself.text, itself.finishReason])
  }
}

const tenants = ['', 'a', 'b']
/** Guides whose answers have forced stretches, longer than a page or a pass, and free ones. */
const guides: readonly Guide[] = [
  { kind: 'regex', regex: `(${'forced '.repeat(6)}[ab]){1,3}` },
  { kind: 'json_schema', schema: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] } },
  { kind: 'lark', grammar: 'start: "(" start ")" | /[a-f]{2,30}/' },
]

function mixed(rng: Random, openings: readonly (readonly number[])[]): GenerateRequest {
  const opening = openings[rng.below(3)]!.slice(0, rng.below(120))
  const modes = ['predicted', 'refined', 'auto'] as const
  const stops = ['e', 'a b', '\u0001', 'zz']
  return {
    prompt: [...opening, ...idsOf(rng, 1 + rng.below(60))],
    raw: true,
    maxTokens: [0, 1, rng.below(40), 40 + rng.below(40)][rng.below(4)]!,
    ignoreEos: rng.below(2) === 0,
    tenant: tenants[rng.below(3)]!,
    seed: rng.below(1000),
    ...(rng.below(2) === 0 && { temperature: 1, topP: 0.9, repetitionPenalty: 1.1, logitBias: { 65: 5 } }),
    ...(rng.below(4) === 0 && { stop: [stops[rng.below(4)]!] }),
    ...(rng.below(3) === 0 && { prefill: modes[rng.below(3)]! }),
    ...(rng.below(3) === 0 && { guide: guides[rng.below(guides.length)]! }),
  }
}

function idsOf(rng: Random, length: number): number[] {
  return Array.from({ length }, () => rng.below(256))
}

function listeners({ controller }: Running): number {
  // References of `AbortSignal.any` to its sources are internal, and collected with them.
  return getEventListeners(controller.signal, 'abort').length
}

function tick(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

async function quietly(work: Promise<unknown>): Promise<void> {
  await work.catch((error) => assert.equal((error as ForetokenError).code, 'out_of_pages'))
}
