/** OpenELM, whose layers differ, through the whole engine against its definition in f64. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type EngineOptions, type KvType } from '../../src/index.ts'
import { memorySource } from '../../src/model/source.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { nodeSpawn } from '../../workers/node.ts'
import { naiveOpenElm } from '../helpers/naive-openelm.ts'
import { random } from '../helpers/random.ts'
import { type OpenElmShape, tinyOpenElm } from '../helpers/tiny-openelm.ts'
import { tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = { ...(await loadWasm('auto', 1)), ...(await loadWasm('auto', 2)) }
const spawn = nodeSpawn(new URL('../../workers/compute.ts', import.meta.url))
const rng = random(31)
const prompts = [1, 37, 16].map((length) => Array.from({ length }, () => rng.below(276)))
const long = prompts[1]!

const load = (shape: Partial<OpenElmShape> = {}, options: Partial<EngineOptions> = {}) =>
  Engine.load(tinyOpenElm(shape).files, { wasm, kv: 'f32', ...options })

async function logitsAfter(engine: Engine, ids: readonly number[]): Promise<Float32Array> {
  const session = await engine.prefill(ids)
  session.release()
  return session.logits
}

/** The largest difference, by the largest logit. */
function distance(got: Float32Array, want: readonly number[]): number {
  const largest = Math.max(...want.map(Math.abs))
  return Math.max(...want.map((value, i) => Math.abs(got[i]! - value))) / largest
}

describe.each<[string, Partial<OpenElmShape>]>([
  ['heads, KV heads and MLPs that differ', {}],
  ['groups that differ, and a head of its own', { heads: [6, 4, 2], kvHeads: [2, 4, 1], tied: false }],
  ['no norm on q and k', { normed: false }],
  ['layers that are alike', { heads: [4, 4], kvHeads: [2, 2], widths: [96, 96] }],
])('OpenELM with %s', (_, shape) => {
  test.each<[KvType, number]>([
    ['f32', 1e-4],
    ['f16', 2e-3],
    ['int8', 5e-2],
  ])('gives the logits of its definition with K and V in %s', async (kv, most) => {
    const engine = await load(shape, { kv })
    for (const ids of prompts)
      expect(distance(await logitsAfter(engine, ids), naiveOpenElm(tinyOpenElm(shape), ids))).toBeLessThan(most)
    await engine.close()
  })
})

describe.each<KvType>(['f32', 'f16', 'int8'])('with K and V in %s', (kv) => {
  let engine: Engine
  let whole: Float32Array
  beforeAll(async () => {
    engine = await load({}, { kv })
    whole = await logitsAfter(engine, long)
  })
  afterAll(() => engine.close())

  test('packed prompts give the same result as alone', async () => {
    const sessions = await engine.prefillMany(prompts)
    for (const [index, session] of sessions.entries()) {
      session.release()
      expect(session.logits).toEqual(await logitsAfter(engine, prompts[index]!))
    }
  })

  test('chunks and threads give the same result as one pass', async () => {
    for (const options of [{ passTokens: 1 }, { passTokens: 7 }, { passTokens: 20 }, { threads: 2, spawn }]) {
      const other = await load({}, { kv, ...options })
      expect(await logitsAfter(other, long)).toEqual(whole)
      await other.close()
    }
  })

  test('steps give the same result as a prompt', async () => {
    const session = await engine.prefill(long.slice(0, 15))
    for (const id of long.slice(15)) await session.step(id)
    session.release()
    expect(session.logits).toEqual(whole)
  })

  test('a saved prefix gives the same answer as a computed one', async () => {
    const text = 'the river rises in the hills and meets the sea near the harbour'
    const prompt = engine.promptIds(`${text}, and then`, { raw: true })
    const expected = await engine.submit({ prompt, maxTokens: 6, ignoreEos: true }).result()
    const reader = await load({}, { kv })
    const { tokens } = await reader.loadPrefix(await engine.savePrefix(text))
    const done = await reader.submit({ prompt, maxTokens: 6, ignoreEos: true }).result()
    expect([done.cached_tokens, done.ids]).toEqual([tokens, expected.ids])
    await reader.close()
  })

  test('a page holds what each layer needs, and no more', async () => {
    const bytes = async (kvHeads: readonly number[]) => {
      const other = await load({ heads: kvHeads, kvHeads, widths: kvHeads.map(() => 32) }, { kv })
      await other.close()
      return other.pageBytes
    }
    expect(engine.pageBytes).toBe((await bytes([1])) + 2 * (await bytes([2])))
  })
})

describe('a feature that needs layers of one shape is refused', () => {
  const refusal = { code: 'unsupported', message: expect.stringMatching(/layers of one shape.*openelm/) }

  test('a predictor', async () => {
    const predictor = memorySource('p', await writePredictor(tinyPredictor('0'.repeat(64))))
    await expect(load({}, { predictor })).rejects.toMatchObject(refusal)
  })

  test('fitting one, and pruning by attention; the engine still works afterwards', async () => {
    const engine = await load()
    const plan = { kind: 'shared', shared: 1, runs: [], taps: [0], sinks: 2, window: 4 } as const
    const { header } = tinyPredictor(engine.identity, { layers: 3, hidden: 64, kv_width: 32, plan })
    async function* documents() {
      while (true) yield long
    }
    const options = { tokens: 100, lambda: 1 }
    const fitting = engine.workbench.fitSource(header, { maps: new Map(), gains: [] }, 0, documents(), options)
    await expect(fitting).rejects.toMatchObject(refusal)
    const judged = { prompt: long, continuations: [[1, 2]] }
    await expect(engine.workbench.logitsPruned(judged, { layer: 1, keep: 8 })).rejects.toMatchObject(refusal)
    expect(engine.stats.pages_in_use).toBe(0)
    expect(distance(await logitsAfter(engine, long), naiveOpenElm(tinyOpenElm(), long))).toBeLessThan(1e-4)
    await engine.close()
  })
})
