/** Tokens and log-probabilities of a request do not depend on how many logits others read. */
import { afterAll, expect, test, vi } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type GenerateRequest, type TokenEvent } from '../../src/index.ts'
import { randomPrompt } from '../helpers/answers.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const opened: Engine[] = []
afterAll(() => Promise.all(opened.map((engine) => engine.close())))

async function open(): Promise<Engine> {
  const engine = await Engine.load(tinyFiles({ context: 128 }), { wasm: await loadWasm('auto', 1) })
  opened.push(engine)
  return engine
}

const ways: readonly Partial<GenerateRequest>[] = [
  {},
  { topLogprobs: 5 },
  { temperature: 1.5, topK: 20, seed: 5 },
  // These read all logits.
  { temperature: 1.5, topP: 0.95, topLogprobs: 3, seed: 6 },
  { repetitionPenalty: 1.2 },
]

async function tokensOf(engine: Engine, way: number): Promise<TokenEvent[]> {
  const prompt = randomPrompt(20 + 9 * way, way)
  const tokens: TokenEvent[] = []
  for await (const event of engine.submit({ prompt, maxTokens: 8, ignoreEos: true, ...ways[way] }))
    if (event.type === 'token') tokens.push(event)
  return tokens
}

test('a request gets the same numbers alone and beside others that read more and less', async () => {
  const [one, many] = [await open(), await open()]
  const listed = vi.spyOn(one.backend.shortlists!, 'of')
  const alone: TokenEvent[][] = []
  const calls: number[] = []
  for (const way of ways.keys()) {
    alone.push(await tokensOf(one, way))
    calls.push(listed.mock.calls.length)
  }
  expect(calls).toEqual([8, 16, 24, 24, 24])
  const together = await Promise.all([...ways.keys()].map((way) => tokensOf(many, way)))
  expect(together).toEqual(alone)
  for (const tokens of alone) expect(tokens).toHaveLength(8)
})

test('a list says what the scan of all logits says', async () => {
  const engine = await open()
  const session = await engine.prefill(randomPrompt(29, 1))
  const { logits } = session
  const all = [...logits].map((logit, id) => ({ id, logit })).sort((a, b) => b.logit - a.logit || a.id - b.id)
  const logSum = Math.log([...logits].reduce((sum, logit) => sum + Math.exp(logit), 0))
  session.release()
  const [first] = await tokensOf(engine, 1)
  expect(first?.topLogprobs?.map(({ id }) => id)).toEqual(all.slice(0, 5).map(({ id }) => id))
  first?.topLogprobs?.forEach(({ logprob }, rank) => {
    expect(logprob).toBeCloseTo(all[rank]!.logit - logSum, 5)
  })
})
