/** Items of a response: which tokens are a message's, and which calls are whole. An engine says what each test tells it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp } from '../../edge/index.ts'
import type { App } from '../../edge/server.ts'
import { loadWasm } from '../../node/index.ts'
import { Engine } from '../../src/index.ts'
import { ask } from '../helpers/ask.ts'
import { scripted } from '../helpers/scripted.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { testConfig } from '../helpers/tiny-server.ts'

const template = `{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}{% if enable_thinking %}{# <think> </think> #}{% endif %}`
let engine: Engine
let app: App
let answer = ''
beforeAll(async () => {
  const files = tinyFiles({ context: 2048, metadata: { 'tokenizer.chat_template': { text: template } } })
  engine = await Engine.load(files, { wasm: await loadWasm('simd128', 1), threads: 1 })
  app = createApp({ engine: scripted(engine, () => answer).service, config: testConfig }) as App
})
afterAll(() => engine?.close())

const scored = { include: ['message.output_text.logprobs'], top_logprobs: 0 }
const tools = [{ type: 'function', name: 'f', parameters: { type: 'object' } }]
const body = { model: 'tiny', input: 'x', max_output_tokens: 900, foretoken: { tool_format: 'hermes' } }
const path = '/v1/responses'

interface Item {
  readonly type: string
  readonly status: string
  readonly content?: readonly { readonly text: string; readonly logprobs: readonly { readonly token: string }[] }[]
}
interface Finished {
  readonly status: string
  readonly incomplete_details: object | null
  readonly output: readonly Item[]
}

/** Answers as one object and as a stream. Returns both responses, and what the deltas of messages said. */
async function both(change: object) {
  const whole = (await (await ask(app, { ...body, ...change }, { path })).json()) as Finished
  const text = await (await ask(app, { ...body, ...change, stream: true }, { path })).text()
  const events = text.split('\n').flatMap((line) => (line.startsWith('data: {') ? [JSON.parse(line.slice(6))] : []))
  const deltas = events.filter(({ type }) => type === 'response.output_text.delta')
  const items = events.filter(({ type }) => type === 'response.output_item.done').map(({ item }) => item as Item)
  return { whole, streamed: events.at(-1).response as Finished, deltas, items }
}
const tokensOf = ({ output }: Finished) =>
  output.flatMap(({ type, content }) =>
    type === 'message' ? [content?.[0]?.logprobs.map(({ token }) => token).join('')] : [],
  )
const textsOf = ({ output }: Finished) =>
  output.flatMap(({ type, content }) => (type === 'message' ? [content?.[0]?.text] : []))

describe('the log-probabilities of a message are those of its own tokens:', () => {
  test.each<[string, string, object]>([
    ['text alone', 'One, two <three', {}],
    ['thoughts before it', '<think>\nThe answer is: four.\n</think>\n\nfour. The end', {}],
    ['thoughts alone', '<think>\nfour', {}],
    ['a call behind it', 'I call.\n<tool_call>\n{"name": "f", "arguments": {"I": "call."}}\n</tool_call>', { tools }],
    ['a call before it', '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call> then more', { tools }],
    ['what only begins as a call', 'a <tool_call>\n{"name": "g"} b', { tools }],
    [
      'thoughts, text and a call',
      '<think>t</think>t<tool_call>{"name": "f", "arguments": {"t": "t"}}</tool_call>',
      { tools },
    ],
    ['a character of several tokens', '<think>é</think>né €', {}],
  ])('%s', async (_, text, change) => {
    answer = text
    const { whole, streamed, deltas } = await both({ ...scored, ...change })
    for (const response of [whole, streamed]) {
      const texts = textsOf(response)
      const bytes = (one: string | undefined) => one?.replace(/[^\0-\x7f]|\ufffd/g, '?').replace(/\?+/g, '?')
      expect(tokensOf(response).map(bytes)).toEqual(texts.map(bytes))
    }
    const said = deltas.map(({ delta }) => delta).join('')
    expect(said).toBe(textsOf(streamed).join(''))
    expect(deltas.flatMap(({ logprobs }) => logprobs)).toEqual(
      streamed.output.flatMap(({ type, content }) => (type === 'message' ? (content?.[0]?.logprobs ?? []) : [])),
    )
  })
})

describe('a call', () => {
  const call = (inside: string) => `<tool_call>\n{"name": "f", "arguments": ${inside}`

  test('that is whole is completed', async () => {
    answer = `${call('{"a": 1}')}}\n</tool_call>`
    const { whole, streamed, items } = await both({ tools })
    for (const response of [whole, streamed]) {
      expect(response).toMatchObject({ status: 'completed', incomplete_details: null })
      expect(response.output).toMatchObject([{ type: 'function_call', status: 'completed' }])
    }
    expect(items).toMatchObject([{ status: 'completed' }])
  })

  test('that the model left in its middle is incomplete, and so is the response', async () => {
    answer = call('{"a": "STOP')
    const { whole, streamed, items } = await both({ tools })
    for (const response of [whole, streamed]) {
      expect(response).toMatchObject({ status: 'incomplete', incomplete_details: {} })
      expect(response.output).toMatchObject([{ type: 'function_call', status: 'incomplete' }])
    }
    expect(items).toMatchObject([{ status: 'incomplete' }])
  })

  test('that the limit of the answer cut is incomplete for that reason', async () => {
    answer = `${call('{"a": 1}')}}\n</tool_call>`
    const { whole, streamed } = await both({ tools, max_output_tokens: answer.indexOf('1') })
    for (const response of [whole, streamed]) {
      expect(response).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } })
      expect(response.output).toMatchObject([{ type: 'function_call', status: 'incomplete' }])
    }
  })
})
