/** The thoughts of a reasoning model over HTTP: an engine says what each test tells it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp } from '../../edge/index.ts'
import type { App } from '../../edge/server.ts'
import { loadWasm } from '../../node/index.ts'
import { Engine } from '../../src/index.ts'
import { ask, chatBody } from '../helpers/ask.ts'
import { type Scripted, scripted } from '../helpers/scripted.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { testConfig } from '../helpers/tiny-server.ts'

/** ChatML with thoughts: dropped from all but the last turn, and turned off by `enable_thinking`. */
const template = `{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.reasoning_content and loop.last %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content }}{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% if enable_thinking is defined and not enable_thinking %}<think>

</think>

{% endif %}{% endif %}`

let engine: Engine
let made: Scripted
let app: App
let answer = ''
beforeAll(async () => {
  const metadata = { 'tokenizer.chat_template': { text: template } }
  const files = tinyFiles({ context: 1024, metadata })
  engine = await Engine.load(files, { wasm: await loadWasm('simd128', 1), threads: 1 })
  made = scripted(engine, () => answer)
  app = createApp({ engine: made.service, config: testConfig }) as App
})
afterAll(() => engine?.close())

const thoughtful = '<think>\nTwo and two.\n</think>\n\nFour.'
const body = (change: object = {}) => chatBody({ max_tokens: 500, ...change })
const json = async (request: object, path?: string) => (await ask(app, request, path ? { path } : {})).json()
const lines = async (request: object, path?: string) => {
  const text = await (await ask(app, { ...request, stream: true }, path ? { path } : {})).text()
  return text.split('\n').flatMap((line) => (line.startsWith('data: {') ? [JSON.parse(line.slice(6))] : []))
}

describe('chat', () => {
  test('thoughts are apart from the content, and counted', async () => {
    answer = thoughtful
    const { choices, usage } = await json(body())
    expect(choices[0].message).toEqual({
      role: 'assistant',
      content: 'Four.',
      refusal: null,
      reasoning_content: 'Two and two.',
    })
    expect(usage.completion_tokens_details.reasoning_tokens).toBeGreaterThan('Two and two.'.length)
    expect(usage.completion_tokens_details.reasoning_tokens).toBeLessThan(usage.completion_tokens - 'Four.'.length)
  })

  test('they are streamed as deltas of their own', async () => {
    answer = thoughtful
    const deltas = (await lines(body())).flatMap(({ choices }) => choices.map(({ delta }: { delta: object }) => delta))
    const text = (name: string) => deltas.map((delta) => delta[name] ?? '').join('')
    expect(text('reasoning_content')).toBe('Two and two.')
    expect(text('content')).toBe('Four.')
    expect(deltas.findIndex(({ content }) => content)).toBeGreaterThan(
      deltas.findLastIndex(({ reasoning_content }) => reasoning_content),
    )
  })

  test('reasoning_format: none leaves them in the text', async () => {
    answer = thoughtful
    const { choices } = await json(body({ reasoning_format: 'none' }))
    expect(choices[0].message).toEqual({ role: 'assistant', content: thoughtful, refusal: null })
  })

  test.each([{ reasoning_effort: 'none' }, { chat_template_kwargs: { enable_thinking: false } }, { think: false }])(
    '%j turns them off',
    async (change) => {
      answer = 'Four.'
      const { choices, usage } = await json(body(change))
      expect(choices[0].message).toEqual({ role: 'assistant', content: 'Four.', refusal: null })
      expect(usage.completion_tokens_details).toBeUndefined()
      expect(made.prompts.at(-1)).toMatch(/<think>\n\n<\/think>\n\n$/)
    },
  )

  test('the template decides what it keeps of them', async () => {
    answer = 'x'
    const said = { role: 'assistant', content: 'Four.', reasoning_content: 'Two and two.' }
    await json(body({ messages: [{ role: 'user', content: '2+2?' }, said, { role: 'user', content: 'Sure?' }] }))
    expect(made.prompts.at(-1)).not.toContain('Two and two.')
  })

  test('a call after thoughts, and log-probabilities of all tokens', async () => {
    answer = '<think>\nhm\n</think>\n\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    const tools = [{ type: 'function', function: { name: 'f' } }]
    const { choices } = await json(body({ tools, logprobs: true }))
    expect(choices[0]).toMatchObject({
      message: { content: null, reasoning_content: 'hm', tool_calls: [{ function: { name: 'f', arguments: '{}' } }] },
      finish_reason: 'tool_calls',
    })
    const shown = choices[0].logprobs.content.map(({ token }: { token: string }) => token).join('')
    expect(shown).toBe(answer)
  })
})

describe('responses', () => {
  const path = '/v1/responses'
  const request = { model: 'tiny', input: '2+2?', store: false }
  const items = [
    {
      type: 'reasoning',
      status: 'completed',
      summary: [],
      content: [{ type: 'reasoning_text', text: 'Two and two.' }],
    },
    { type: 'message', status: 'completed', content: [{ type: 'output_text', text: 'Four.' }] },
  ]

  test('thoughts are an item', async () => {
    answer = thoughtful
    const { output, usage } = await json(request, path)
    expect(output).toMatchObject(items)
    expect(usage.output_tokens_details.reasoning_tokens).toBeGreaterThan(12)
  })

  test('they are streamed as events of their own', async () => {
    answer = thoughtful
    const events = await lines(request, path)
    const deltas = events.filter(({ type }) => type === 'response.reasoning_text.delta')
    expect(deltas.map(({ delta }) => delta).join('')).toBe('Two and two.')
    expect(events.find(({ type }) => type === 'response.reasoning_text.done')).toMatchObject({ text: 'Two and two.' })
    expect(events.at(-1).response.output).toMatchObject(items)
  })

  test('an effort of none turns them off, and items go back', async () => {
    answer = 'x'
    const input = [
      { role: 'user', content: '2+2?' },
      { type: 'reasoning', id: 'rs_1', summary: [], content: [{ type: 'reasoning_text', text: 'Two and two.' }] },
      { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'Four' }] },
    ]
    await json({ ...request, input, reasoning: { effort: 'none' } }, path)
    expect(made.prompts.at(-1)).toContain('<think>\nTwo and two.\n</think>\n\nFour<|im_end|>')
    expect(made.prompts.at(-1)).toMatch(/<think>\n\n<\/think>\n\n$/)
  })
})
