/** Pages held only by cached prefixes are evicted on demand; pages in use are not. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type EngineOptions } from '../../src/index.ts'
import { answer, randomPrompt } from '../helpers/answers.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('auto', 1)
const pages = 16
/** Prefixes may take every page there is. */
const options: Partial<EngineOptions> = { context: 256, kvTokens: pages * 16, prefixBytes: 1 << 30, passTokens: 64 }
const load = () => Engine.load(tinyFiles(), { wasm, ...options })
const ids = randomPrompt(100, 1)
const text = 'A beginning of which two pages or more are kept, as it is long enough for that.'
const key = new Uint8Array(32)

let engine: Engine
let other: Engine
/** Made where there was room: the answers that are right. */
let right: { readonly scores: Float64Array; readonly logits: Float32Array; readonly file: Uint8Array }

beforeAll(async () => {
  ;[engine, other] = [await load(), await load()]
  right = {
    scores: await other.score(ids),
    logits: await other.logits(ids.slice(0, 60)),
    file: await other.savePrefix(text),
  }
})
afterAll(() => Promise.all([engine.close(), other.close()]))

/** Answers requests until cached prefixes hold every page but those that are held otherwise. */
async function fill(held = 0): Promise<void> {
  for (let seed = 100; engine.stats.pages_in_use < pages; seed++)
    await engine.submit({ prompt: randomPrompt(64, seed), maxTokens: 1, ignoreEos: true }).result()
  expect(engine.stats.prefix_pages).toBe(pages - held)
}

const works: Readonly<Record<string, () => Promise<unknown>>> = {
  score: async () => expect(await engine.score(ids)).toEqual(right.scores),
  logits: async () => expect(await engine.logits(ids.slice(0, 60))).toEqual(right.logits),
  prefill: async () => (await engine.prefill(ids)).release(),
  'prefillMany of some prompts': async () => {
    for (const session of await engine.prefillMany([ids, ids.slice(40)])) session.release()
  },
  'a step of a session': async () => {
    const session = await engine.prefill(ids.slice(0, 16))
    await fill(session.length / 16)
    await session.step(3)
    session.release()
  },
  savePrefix: async () => expect(await engine.savePrefix(text)).toEqual(right.file),
  loadPrefix: async () => (await engine.loadPrefix(right.file)).release(),
  'workbench.cacheOf': () => engine.workbench.cacheOf(ids, 'exact'),
  'workbench.logitsAfter': () => engine.workbench.logitsAfter({ prompt: ids, continuations: [[1, 2]] }),
  expectKv: async () => {
    const expected = engine.expectKv(ids)
    const { from, to } = expected
    const { tokens } = await expected.receive(other.kvOf(ids, { codec: 'f32', key, from, to }), { key })
    expected.release()
    expect(tokens).toBe(to - from)
  },
  kvOf: async () => {
    let bytes = 0
    for await (const piece of engine.kvOf(randomPrompt(100, 7), { codec: 'f16', key })) bytes += piece.length
    expect(bytes).toBeGreaterThan(0)
  },
  submit: () => engine.submit({ prompt: randomPrompt(100, 8), maxTokens: 20, ignoreEos: true }).result(),
}

describe('where idle prefixes hold every page', () => {
  test.each(Object.entries(works))('%s evicts some and runs', async (_, work) => {
    await fill()
    await work()
    const { pages_in_use, prefix_pages } = engine.stats
    expect(pages_in_use).toBe(prefix_pages)
  })
})

describe('pages in use', () => {
  test('are not evicted: a request that needs more than the rest is refused, and evicts nothing', async () => {
    await fill()
    const held = await engine.prefill(randomPrompt(160, 3))
    await engine.submit({ prompt: randomPrompt(64, 4), maxTokens: 1, ignoreEos: true }).result()
    const before = engine.stats.prefix_pages
    expect(before).toBeGreaterThan(0)
    await expect(engine.prefill(randomPrompt(200, 5))).rejects.toMatchObject({ code: 'out_of_pages' })
    expect(engine.stats.prefix_pages).toBe(before)
    // As many as there are.
    const fits = await engine.prefill(randomPrompt(96, 6))
    await expect(engine.prefill([1])).rejects.toMatchObject({ code: 'out_of_pages' })
    fits.release()
    const logits = await held.step(1)
    held.release()
    expect(logits.every(Number.isFinite)).toBe(true)
  })

  test('keep their content: a loaded prefix is found after everything else was evicted', async () => {
    const loaded = await engine.loadPrefix(right.file)
    await fill()
    await engine.score(randomPrompt(180, 9))
    const prompt = [...engine.tokenize(text, { special: true })]
    const { done } = await answer(engine, { prompt, raw: true, maxTokens: 1 })
    expect(done.cached_tokens).toBeGreaterThanOrEqual(32)
    loaded.release()
  })
})

describe('several concurrent requests, each of which fits alone', () => {
  const long = [1, 2, 3, 4].map((seed) => randomPrompt(200, 40 + seed))
  const kinds: Readonly<Record<string, (ids: number[]) => Promise<unknown>>> = {
    score: (ids) => engine.score(ids),
    savePrefix: () => engine.savePrefix(text),
    'workbench.cacheOf': (ids) => engine.workbench.cacheOf(ids, 'exact'),
    'workbench.logitsAfter': (ids) => engine.workbench.logitsAfter({ prompt: ids, continuations: [[1, 2], [3]] }),
    'workbench.logitsPruned': (ids) =>
      engine.workbench.logitsPruned({ prompt: ids.slice(0, 100), continuations: [[1]] }, { layer: 1, keep: 50 }),
  }

  test.each(Object.entries(kinds))('%s: each runs in turn', async (_, work) => {
    const alone: unknown[] = []
    for (const ids of long) alone.push(await work(ids))
    const together = await Promise.all(long.map((ids) => work(ids)))
    expect(together.map(withoutTimes)).toEqual(alone.map(withoutTimes))
    expect(engine.stats.pages_in_use).toBe(engine.stats.prefix_pages)
  })

  test('a failing one does not block those after it', async () => {
    const ends = await Promise.allSettled([engine.score(long[0]!), engine.score([1, 9999, 2]), engine.score(long[1]!)])
    expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  })

  test('sessions reserve their pages at once: one that does not fit is refused before anything is computed', async () => {
    const ends = await Promise.allSettled(long.map((ids) => engine.prefill(ids)))
    expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'rejected'])
    for (const end of ends) if (end.status === 'fulfilled') end.value.release()
    expect(engine.stats.pages_in_use).toBe(engine.stats.prefix_pages)
  })
})

describe('a request beside work that holds the pages for a while', () => {
  const prompt = randomPrompt(100, 77)
  const ask = (signal?: AbortSignal) => engine.submit({ prompt, maxTokens: 3, ignoreEos: true, signal }).result()

  /** K and V of a prompt of nearly all pages that come piece by piece, as `more` lets them. */
  function arriving(more: () => Promise<void>): Promise<void> {
    const ids = randomPrompt(250, ++seeds)
    const expected = engine.expectKv(ids)
    const { from, to } = expected
    async function* slowly() {
      for await (const piece of other.kvOf(ids, { codec: 'f32', key, from, to })) {
        yield piece
        await more()
      }
    }
    return expected.receive(slowly(), { key }).then(() => expected.release())
  }
  let seeds = 500

  test('waits for an incoming transfer while others run, and can be cancelled', async () => {
    let open = () => {}
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    let pieces = 0
    const received = arriving(async () => {
      if (++pieces === 3) await gate
    })
    await expect.poll(() => pieces).toBe(3)
    const control = new AbortController()
    const [waiting, cancelled] = [ask(), ask(control.signal)]
    const ends: string[] = []
    void waiting.then(() => ends.push('waiting'))
    // A session that fits beside the others is not delayed by them.
    const small = await engine.submit({ prompt: [1, 2, 3], maxTokens: 2, ignoreEos: true }).result()
    expect(small.ids).toHaveLength(2)
    control.abort()
    await expect(cancelled).rejects.toMatchObject({ code: 'aborted' })
    expect(ends).toEqual([])
    open()
    await received
    expect((await waiting).ids).toHaveLength(3)
  })

  test('waits for prompts that are read, and for prefixes that are saved', async () => {
    for (const work of [() => engine.prefill(randomPrompt(250, 9)).then((session) => session.release()), savedLong]) {
      const working = work()
      expect((await ask()).ids).toHaveLength(3)
      await working
    }
  })

  test('is refused where a session holds them', async () => {
    const session = await engine.prefill(randomPrompt(250, 10))
    await expect(ask()).rejects.toMatchObject({ code: 'out_of_pages' })
    session.release()
  })

  const savedLong = () => engine.savePrefix('q'.repeat(240))
})

/** Returns the result of the work, without its duration. */
function withoutTimes(result: unknown): unknown {
  return result instanceof Object && 'ms' in result ? { ...result, ms: 0 } : result
}

describe('tenants', () => {
  test('a tenant with many requests does not evict all prefixes of another', async () => {
    const fresh = await load()
    const prompt = randomPrompt(65, 30)
    const ask = (tenant: string, ids: readonly number[]) => answer(fresh, { prompt: ids, tenant, maxTokens: 1 })
    await ask('small', prompt)
    for (let seed = 0; seed < 30; seed++) await ask('large', randomPrompt(65, 1000 + seed))
    // Half of the pages are shared out: a quarter to each of two.
    expect((await ask('small', prompt)).done.cached_tokens).toBe(64)
    // No prefix blocks a request, whatever its tenant.
    await fresh.score(randomPrompt(256, 1))
    await fresh.close()
  })
})
