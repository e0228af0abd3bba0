/** stories260K, a real model of 260,000 parameters: 200 greedy tokens as llama2.c writes them. */
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Engine } from '../../src/index.ts'
import { llama2cFiles } from '../helpers/llama2c.ts'
import { besideRepository, compareTop, type GoldenCase, loadGolden, readGolden } from './golden.ts'

interface Stories {
  readonly greedy: readonly number[]
  readonly margins: readonly number[]
  readonly text: string
  readonly cases: readonly Pick<GoldenCase, 'ids' | 'top'>[]
}

const model = besideRepository('models/stories260K/stories260K.bin')
const tokens = besideRepository('models/stories260K/tok512.bin')

describe.runIf(model && tokens)('stories260K (beside the repository)', () => {
  const golden = readGolden<Stories>('stories260K.json', 'stories')
  let engine: Engine
  beforeAll(async () => {
    engine = await loadGolden(llama2cFiles(await readFile(model!), await readFile(tokens!)))
  })
  afterAll(() => engine?.close())

  test.each(golden.cases.map(({ ids, top }) => ({ tokens: ids.length, ids, top })))(
    'top tokens after $tokens',
    async ({ ids, top }) => {
      const session = await engine.prefill(ids)
      compareTop(session.logits, top, { logprob: 1e-3, floor: -20, margin: 0 })
      session.release()
    },
  )

  test('generates the text from its tokenizer', async () => {
    let text = ''
    for await (const event of engine.generate('Once upon', { raw: true, maxTokens: 60 }))
      if (event.type === 'token') text += event.text
    expect(`Once upon${text}`).toBe(golden.text.slice(0, 9 + text.length))
    expect(text.length).toBeGreaterThan(100)
  })

  test('writes the story', async () => {
    expect(Math.min(...golden.margins)).toBeGreaterThan(4e-3)
    const session = await engine.prefill([1])
    const ids: number[] = []
    while (ids.length < golden.greedy.length) {
      const id = session.logits.reduce((best, logit, at, all) => (logit > all[best]! ? at : best), 0)
      ids.push(id)
      await session.step(id)
    }
    session.release()
    expect(ids).toEqual(golden.greedy)
  })
})
