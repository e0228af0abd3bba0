/** Text to continue: its special tokens, gaps to be filled, and seeds of 64 bits. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp } from '../../edge/index.ts'
import type { App } from '../../edge/server.ts'
import { loadWasm } from '../../node/index.ts'
import { Engine } from '../../src/index.ts'
import { memoryFiles } from '../../src/model/source.ts'
import { ask, refusal } from '../helpers/ask.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'
import { testConfig } from '../helpers/tiny-server.ts'

/** Letters of the tiny vocabulary that no test uses, and what they become: as many UTF-8 bytes, so that nothing in the file moves. */
const fim = { prefix: 9, suffix: 11, middle: 12 } as const

let engine: Engine
let filling: Engine
let app: App
const load = async (bytes: Uint8Array) =>
  Engine.load(memoryFiles('tiny', { 'tiny.gguf': bytes }), { wasm: await loadWasm('simd128', 1), threads: 1 })
beforeAll(async () => {
  engine = await load(tinyGguf({ context: 256 }))
  filling = await load(tinyGguf({ context: 256, metadata: withGapTokens() }))
  app = createApp({ engine, config: testConfig })
})
afterAll(async () => {
  await engine.close()
  await filling.close()
})

function withGapTokens() {
  const tokens: string[] = []
  for (let byte = 0, next = 0x100; byte < 256; byte++) {
    const prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
    tokens.push(String.fromCodePoint(prints ? byte : next++))
  }
  tokens.push('<|endoftext|>', '<|im_start|>', '<|im_end|>')
  const types = tokens.map((_, id) => (id < 256 ? 1 : 3))
  for (const [name, id] of Object.entries(fim)) {
    tokens[id] = `<|fim_${name}|>`
    types[id] = 3
  }
  return { 'tokenizer.ggml.tokens': { texts: tokens }, 'tokenizer.ggml.token_type': { ints: types } }
}

const complete = (change: object, to: App = app) =>
  ask(to, { model: 'tiny', prompt: 'x', max_tokens: 8, temperature: 0, ...change }, { path: '/v1/completions' })
const done = async (change: object, to?: App) => {
  const body = await (await complete(change, to)).json()
  expect(body.error).toBeUndefined()
  return { text: body.choices[0].text as string, prompt: body.usage.prompt_tokens as number }
}
const ids = (text: string) => [...new TextEncoder().encode(text)]

describe('special tokens in a raw prompt', () => {
  const prompt = '<|im_start|>user\nhi<|im_end|>'
  const bytes = ids('user\nhi')

  test('are parsed as such, as by other servers; parse_special: false reads them as text', async () => {
    expect(await done({ prompt })).toEqual(await done({ prompt: [257, ...bytes, 258] }))
    expect(await done({ prompt, parse_special: false })).toEqual(await done({ prompt: ids(prompt) }))
    expect((await done({ prompt: [prompt, prompt] })).prompt).toBe(2 * (2 + bytes.length))
  })

  test('are never parsed in a chat, even on request', async () => {
    const body = { model: 'tiny', messages: [{ role: 'user', content: prompt }], max_tokens: 1, parse_special: true }
    const plain = { ...body, messages: [{ role: 'user', content: 'x'.repeat(prompt.length) }] }
    const count = async (body: object) => (await (await ask(app, body)).json()).usage.prompt_tokens
    expect(await count(body)).toBe(await count(plain))
  })
})

describe('fill-in-the-middle', () => {
  test('works where the vocabulary has its tokens: prefix, suffix, and the answer', async () => {
    const app = createApp({ engine: filling, config: testConfig })
    const { prefix, suffix, middle } = fim
    const asIds = [prefix, ...ids('def f('), suffix, ...ids('): pass'), middle]
    expect(await done({ prompt: 'def f(', suffix: '): pass' }, app)).toEqual(await done({ prompt: asIds }, app))
    expect(await done({ prompt: 'def f(', suffix: '' }, app)).toEqual(await done({ prompt: 'def f(' }, app))
    const echoed = await done({ prompt: 'ab', suffix: 'cd', echo: true }, app)
    expect(echoed.text.slice(0, 2)).toBe('ab')
    for (const other of [
      { prompt: [1, 2], suffix: 'x' },
      { suffix: 'x', parse_special: false },
    ])
      expect(await refusal(await complete(other, app))).toMatchObject({ status: 400, param: 'suffix' })
    expect(await refusal(await complete({ suffix: 'x'.repeat(9000) }, app))).toMatchObject({
      code: 'context_length_exceeded',
    })
  })

  test('uses the tokens that a GGUF names, whatever they are called', async () => {
    const named = { fim_pre_token_id: { u32: 257 }, suffix_token_id: { u32: 258 }, fim_mid_token_id: { u32: 256 } }
    const metadata = Object.fromEntries(Object.entries(named).map(([key, id]) => [`tokenizer.ggml.${key}`, id]))
    const other = await load(tinyGguf({ context: 256, metadata }))
    const app = createApp({ engine: other, config: testConfig })
    const asIds = [257, ...ids('ab'), 258, ...ids('cd'), 256]
    expect(await done({ prompt: 'ab', suffix: 'cd' }, app)).toEqual(await done({ prompt: asIds }, app))
    await other.close()
  })

  test('is refused where the vocabulary has none', async () => {
    expect(await refusal(await complete({ suffix: 'y' }))).toMatchObject({
      status: 400,
      param: 'suffix',
      code: 'unsupported_value',
    })
  })
})

describe('seeds', () => {
  const drawn = { temperature: 1.9, max_tokens: 16 }
  /** As a client writes it: JSON that JavaScript could not. */
  const withSeed = async (seed: string, more: object = {}) => {
    const raw = JSON.stringify({ model: 'tiny', prompt: 'x', ...drawn, ...more }).replace(/}$/, `, "seed": ${seed}}`)
    const response = await ask(app, undefined, { raw, path: '/v1/completions' })
    return { status: response.status, texts: (await response.json()).choices?.map((one: { text: string }) => one.text) }
  }
  const inLibrary = async (seed: bigint) => {
    const options = { raw: true, temperature: 1.9, maxTokens: 16, seed }
    return (await engine.submit({ prompt: 'x', ...options }).result()).text
  }

  test.each([
    '9223372036854775807',
    '9223372036854775806',
    '-9223372036854775808',
    '-9007199254740993',
    '-9007199254740992',
    '4503599627370497',
    '18014398509481985',
    '-1',
    '0',
  ])('%s draws the same as in the library', async (seed) => {
    expect(await withSeed(seed)).toEqual({ status: 200, texts: [await inLibrary(BigInt(seed))] })
  })

  test('that differ in their last bit draw differently; further choices use the seeds that follow', async () => {
    expect(await withSeed('9223372036854775806')).not.toEqual(await withSeed('9223372036854775807'))
    const two = await withSeed('9223372036854775807', { n: 2 })
    expect(two.texts).toEqual([await inLibrary(2n ** 63n - 1n), await inLibrary(-(2n ** 63n))])
  })

  test("in Ollama's options count as well, and may be text", async () => {
    const options = await withSeed('1', {}).then(() =>
      ask(app, undefined, {
        raw: `{"model":"tiny","prompt":"x","max_tokens":16,"options":{"temperature":1.9,"seed":9007199254740993}}`,
        path: '/v1/completions',
      }),
    )
    expect((await options.json()).choices[0].text).toBe(await inLibrary(9007199254740993n))
    expect((await withSeed('"9007199254740993"')).texts).toEqual([await inLibrary(9007199254740993n)])
  })

  test.each(['9223372036854775808', '-9223372036854775809', '1.5', '1e30', '"x"', 'true', '[1]'])(
    '%s is not a seed',
    async (seed) => expect((await withSeed(seed)).status).toBe(400),
  )
})
