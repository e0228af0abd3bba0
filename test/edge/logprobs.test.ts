/** Log-probabilities with a stop string cover the visible text, token by token, and no other. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp } from '../../edge/index.ts'
import type { App } from '../../edge/server.ts'
import type { Engine } from '../../src/index.ts'
import { ask } from '../helpers/ask.ts'
import { testConfig, tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
let app: App
let alone: Seen
beforeAll(async () => {
  engine = await tinyEngine()
  app = createApp({ engine, config: testConfig })
  alone = await completion({})
})
afterAll(() => engine.close())

interface Seen {
  readonly text: string
  readonly tokens: readonly string[]
  readonly offsets?: readonly number[]
}

/** Letters only, so that every token is one; then text and tokens can be held against each other. */
const letters = Object.fromEntries(Array.from({ length: 26 }, (_, n) => [97 + n, 100]))
const base = { model: 'tiny', temperature: 1, seed: 7, logit_bias: letters }

async function data(response: Response): Promise<Record<string, never>[]> {
  const frames = (await response.text()).split('\n\n')
  return frames.flatMap((frame) =>
    (/^(?:event: \S+\n)?data: (\{.*)$/.exec(frame) ?? []).slice(1).map((one) => JSON.parse(one)),
  )
}

async function completion(change: object, stream = false): Promise<Seen> {
  const body = { ...base, prompt: 'p', max_tokens: 24, logprobs: 0, stream, ...change }
  const response = await ask(app, body, { path: '/v1/completions' })
  const chunks = stream ? await data(response) : [await response.json()]
  const choices = chunks.flatMap(({ choices }) => choices as { text: string; logprobs: Logprobs | null }[])
  interface Logprobs {
    readonly tokens: string[]
    readonly text_offset: number[]
    readonly token_logprobs: number[]
  }
  const told = choices.flatMap(({ logprobs }) => logprobs ?? [])
  for (const { tokens, text_offset, token_logprobs } of told)
    expect([text_offset.length, token_logprobs.length]).toEqual([tokens.length, tokens.length])
  return {
    text: choices.map(({ text }) => text).join(''),
    tokens: told.flatMap(({ tokens }) => tokens),
    offsets: told.flatMap(({ text_offset }) => text_offset),
  }
}

async function chat(change: object, stream = false): Promise<Seen> {
  const messages = [{ role: 'user', content: 'p' }]
  const response = await ask(app, { ...base, messages, max_tokens: 24, logprobs: true, stream, ...change })
  const chunks = stream ? await data(response) : [await response.json()]
  type Choice = { message?: Text; delta?: Text; logprobs: { content: { token: string }[] } | null }
  type Text = { content?: string }
  const choices = chunks.flatMap(({ choices }) => choices as Choice[])
  return {
    text: choices.map(({ message, delta }) => (message ?? delta)!.content ?? '').join(''),
    tokens: choices.flatMap(({ logprobs }) => logprobs?.content.map(({ token }) => token) ?? []),
  }
}

describe.each([
  ['whole', false],
  ['streamed', true],
])('%s', (_, stream) => {
  test("a token's offset is where its own text begins, also when the text was held back", async () => {
    expect(alone.text).toMatch(/^[a-z]{24}$/)
    const offsets = Array.from(alone.text, (_, index) => index)
    expect(alone).toMatchObject({ tokens: [...alone.text], offsets })
    // Each of these begins a stop string that never comes to its end.
    for (const stop of [[`${alone.text[3]}0`], [`${alone.text.slice(2, 9)}0`, `${alone.text.slice(20)}0`]])
      expect(await completion({ stop }, stream)).toEqual({ text: alone.text, tokens: [...alone.text], offsets })
  })

  test('tokens after the end of the visible text are not listed', async () => {
    for (let from = 0; from < 20; from++) {
      const stop = alone.text.slice(from, from + 4)
      const text = alone.text.slice(0, alone.text.indexOf(stop))
      const offsets = Array.from(text, (_, index) => index)
      expect(await completion({ stop }, stream), stop).toEqual({ text, tokens: [...text], offsets })
    }
  })

  test('nor are they in a chat, where the beginning of a stop string was already seen', async () => {
    const whole = await chat({}, stream)
    expect(whole.tokens.join('')).toBe(whole.text)
    const stop = [`${whole.text.slice(2, 6)}0`, whole.text.slice(12, 16)]
    const cut = await chat({ stop }, stream)
    expect(cut.text).toBe(whole.text.slice(0, whole.text.indexOf(stop[1]!)))
    expect(cut.tokens.join('')).toBe(cut.text)
  })

  test('bytes of one character belong to the token that completes it; bytes that complete none are listed, too', async () => {
    // A smile, byte by byte, and its first byte once more.
    const bytes = [0xf0, 0x9f, 0x99, 0x82]
    const bias = Object.fromEntries(bytes.map((byte) => [byte, 100]))
    const seen = await completion({ logit_bias: bias, max_tokens: 40 }, stream)
    expect(seen.tokens).toHaveLength(40)
    expect(seen.offsets!.at(-1)).toBeLessThanOrEqual(seen.text.length)
    expect(seen.offsets).toEqual(seen.offsets!.toSorted((a, b) => a - b))
    expect(await completion({ logit_bias: bias, max_tokens: 40 }, !stream)).toEqual(seen)
  })
})

test('responses list the same tokens in both forms', async () => {
  const body = {
    model: 'tiny',
    input: 'p',
    temperature: 1,
    max_output_tokens: 24,
    include: ['message.output_text.logprobs'],
  }
  const path = '/v1/responses'
  for (const stream of [false, true]) {
    const response = await ask(app, { ...body, stream }, { path })
    const events = stream ? await data(response) : []
    const whole = (stream ? events.at(-1)!.response : await response.json()) as Record<string, never>
    const [part] = (whole.output as unknown as { content: { text: string; logprobs: { token: string }[] }[] }[])[0]!
      .content
    expect(part!.logprobs.length).toBeGreaterThan(0)
    const deltas = events.filter(({ type }) => type === 'response.output_text.delta')
    if (stream) expect(deltas.flatMap(({ logprobs }) => logprobs)).toEqual(part!.logprobs)
  }
})
