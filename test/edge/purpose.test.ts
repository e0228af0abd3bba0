/** Tests that served models which make embeddings, or rank, refuse to answer in every API. */
import { afterEach, describe, expect, test } from 'vitest'
import { createApp, type HostContext } from '../../edge/index.ts'
import type { App } from '../../edge/server.ts'
import { loadWasm } from '../../node/index.ts'
import { Engine, ModelPool, openModel } from '../../src/index.ts'
import { answering } from '../helpers/answering.ts'
import { ask } from '../helpers/ask.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { testConfig } from '../helpers/tiny-server.ts'

const wasm = await loadWasm('simd128', 1)
const closing: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

describe.each([
  [3, 'embedder makes embeddings and no answers; POST /v1/embeddings, or name another model', ['embedding']],
  [4, 'embedder is a reranker, which answers nothing; POST /v1/rerank, or name another model', []],
] as const)('an answer of a model with pooling_type %d', (pooling, message, capabilities) => {
  const files = () => tinyFiles({ metadata: { 'llama.pooling_type': { u32: pooling } } })
  const engineOf = () => Engine.load(files(), { wasm, threads: 1 })

  /** Returns a server of the model, loaded at first use, and how often it was loaded. */
  const pooled = async (known: boolean) => {
    const loads: string[] = []
    const load = async () => {
      loads.push('embedder')
      return engineOf()
    }
    const header = known ? { header: await openModel(files()) } : {}
    const pool = new ModelPool<HostContext>([{ name: 'embedder', ...header, load }])
    closing.push(() => pool.close())
    return { app: createApp({ models: pool, config: testConfig }), pool, loads }
  }

  const refusesAnswers = async (app: App) => {
    for (const [path, body] of answering) {
      const { error } = await (await ask(app, { model: 'embedder', ...body }, { path })).json()
      expect([path, error.message ?? error]).toEqual([path, message])
    }
  }

  test('is refused before a load where its header is known', async () => {
    const { app, pool, loads } = await pooled(true)
    await refusesAnswers(app)
    expect(loads).toEqual([])
    const shown = await (await ask(app, { model: 'embedder' }, { path: '/api/show' })).json()
    expect([shown.capabilities, loads]).toEqual([capabilities, ['embedder']])
    await refusesAnswers(app)
    expect(pool.models).toMatchObject([{ uses: 0, waiting: 0, loads: 1 }])
  })

  test('is refused after a load where it is not, and by a server of one model', async () => {
    const { app, pool, loads } = await pooled(false)
    await refusesAnswers(app)
    expect(loads).toEqual(['embedder'])
    expect(pool.models).toMatchObject([{ uses: 0, waiting: 0 }])
    const engine = await engineOf()
    closing.push(() => engine.close())
    await refusesAnswers(createApp({ engine, config: { ...testConfig, models: ['embedder'] } }))
    // A program may still ask the engine itself.
    expect((await engine.generate('a', { maxTokens: 1 }).next()).done).toBe(false)
  })
})
