/** Large answers are written in turns with the host, and are what JSON.stringify writes. */
import { describe, expect, test } from 'vitest'
import { embeddings } from '../../edge/endpoints/embeddings.ts'
import { inTurns, jsonOf } from '../../edge/json.ts'
import { embed } from '../../edge/ollama/embed.ts'

/** Counts the turns of the host until a promise settles. */
async function turnsDuring(what: Promise<unknown>): Promise<number> {
  let turns = 0
  let going = true
  const turn = () => {
    turns++
    if (going) setImmediate(turn)
  }
  setImmediate(turn)
  await what.catch(() => {})
  going = false
  return turns
}

const score = (at: number) => ({ token: `t${at}`, logprob: -at, bytes: [at], top_logprobs: [] })

describe('an answer as JSON', () => {
  test.each<[string, unknown]>([
    ['plain values', { a: 1, b: 'x"\n', c: null, d: true, e: [], f: {}, g: undefined, h: [undefined, NaN] }],
    ['a text', 'x'],
    ['nothing', undefined],
    ['a long list', { list: Array.from({ length: 1000 }, (_, at) => at / 3) }],
    ['lists in lists', Array.from({ length: 65 }, (_, at) => Array.from({ length: at * 5 }, () => at))],
    [
      'choices',
      {
        choices: [1, 2].map((index) => ({
          index,
          logprobs: { content: Array.from({ length: 300 }, (_, at) => score(at)) },
        })),
      },
    ],
    ['dates', { at: new Date(0) }],
  ])('%s', async (_, value) => {
    expect(await jsonOf(value)).toBe(JSON.stringify(value) ?? 'null')
  })

  test('lets the host go on', async () => {
    const scores = Array.from({ length: 6400 }, (_, at) => score(at))
    expect(await turnsDuring(jsonOf({ choices: [{ logprobs: { content: scores } }] }))).toBeGreaterThan(90)
    expect(await turnsDuring(inTurns(scores, (one) => one))).toBeGreaterThan(90)
    expect(await turnsDuring(inTurns(scores.slice(0, 64), (one) => one, undefined, 8))).toBeGreaterThanOrEqual(8)
  })

  test('ends with its signal', async () => {
    const control = new AbortController()
    const written = jsonOf(
      Array.from({ length: 1000 }, (_, at) => at),
      control.signal,
    )
    control.abort()
    await expect(written).rejects.toMatchObject({ code: 'aborted' })
  })
})

test.each(['ollama', 'openai'])('thousands of vectors are written in turns: %s', async (api) => {
  const vectors = Array.from({ length: 2048 }, (_, at) => Float32Array.of(at, at / 3))
  const input = vectors.map(() => 'x')
  const engine = { archive: { config: { hidden: 2 } }, embed: async () => ({ vectors, tokens: [2048] }) }
  const context = { engine, model: 'm', loadMs: 0 } as never
  const options = { tenant: '', signal: new AbortController().signal }
  const made =
    api === 'ollama'
      ? embed.run({ model: 'm', input }, context, options)
      : embeddings.run({ model: 'm', input }, context, options)
  expect(await turnsDuring(made)).toBeGreaterThan(200)
  const { body } = await made
  const { data, embeddings: list } = JSON.parse(String(body))
  expect((list ?? data.map(({ embedding }: { embedding: number[] }) => embedding))[6]).toEqual([6, 2])
})
