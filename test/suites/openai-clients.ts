/**
 * Tests of a server with unmodified clients of OpenAI's, Anthropic's and Ollama's APIs, the same on every host. The model is tiny and random,
 * so its text is noise, but always the same.
 */
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import Anthropic from '@anthropic-ai/sdk'
import { embedMany, generateObject, generateText, streamObject, streamText } from 'ai'
import { Ollama } from 'ollama'
import OpenAI from 'openai'
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { testKeys } from '../helpers/tiny-server.ts'
import { shapeClients } from './shape-clients.ts'

export interface Target {
  readonly url: string
  readonly fetch: typeof fetch
  close(): Promise<void>
}

export function openaiClients(host: string, start: () => Promise<Target>): void {
  describe(`real clients on ${host}`, () => {
    let target: Target
    let client: OpenAI
    beforeAll(async () => {
      target = await start()
      client = new OpenAI({ baseURL: `${target.url}/v1`, apiKey: testKeys.one, fetch: target.fetch, maxRetries: 0 })
    })
    afterAll(() => target?.close())

    const messages = [{ role: 'user', content: 'What is this?' }] as const
    const plain = { model: 'tiny', messages: [...messages], temperature: 0, max_tokens: 24 }

    test('openai: models', async () => {
      const names: string[] = []
      for await (const { id } of client.models.list()) names.push(id)
      expect(names).toEqual(['tiny'])
      expect((await client.models.retrieve('tiny')).owned_by).toBe('foretoken')
    })

    test('openai: a chat, whole and streamed, is the same', async () => {
      const whole = await client.chat.completions.create(plain)
      const { message, finish_reason } = whole.choices[0]!
      expect(message.content).not.toBe('')
      expect(finish_reason).toBe('length')
      expect(whole.usage).toMatchObject({ completion_tokens: 24 })

      const { data: stream, response } = await client.chat.completions.create({ ...plain, stream: true }).withResponse()
      expect(response.headers.get('x-foretoken-prefill')).toBe('exact')
      expect(response.headers.get('server-timing')).toMatch(/prefill;dur=[\d.]+.*ttft;dur=/)
      let text = ''
      const reasons: (string | null)[] = []
      for await (const chunk of stream) {
        expect(chunk.usage).toBeUndefined()
        text += chunk.choices[0]?.delta.content ?? ''
        reasons.push(chunk.choices[0]!.finish_reason)
      }
      expect(text).toBe(message.content)
      expect(reasons.filter((reason) => reason !== null)).toEqual(['length'])
    })

    const person = z.object({ name: z.string().max(6), age: z.int().min(0).max(99), tea: z.boolean().nullable() })
    const noisy = { temperature: 1, seed: 4 }

    test('openai: parsed answers, of chats and responses, and of choices that are streamed', async () => {
      const format = zodResponseFormat(person, 'person')
      const asked = { ...plain, ...noisy, max_tokens: 300, response_format: format }
      const answer = await client.chat.completions.parse(asked)
      const { parsed } = answer.choices[0]!.message
      expect(person.parse(parsed)).toEqual(parsed)
      const stream = client.chat.completions.stream({ ...asked, n: 2 })
      const final = await stream.finalChatCompletion()
      for (const { message } of final.choices) expect(person.parse(message.parsed)).toEqual(message.parsed)
      expect(final.choices[0]!.message.parsed).toEqual(parsed)
      const response = await client.responses.parse({
        model: 'tiny',
        input: 'Who?',
        temperature: 1,
        max_output_tokens: 300,
        text: { format: zodTextFormat(person, 'person') },
      })
      expect(person.parse(response.output_parsed)).toEqual(response.output_parsed)
    })

    test('ai: generateObject, of a schema and of choices, and streamObject', async () => {
      const sdk = { baseURL: `${target.url}/v1`, apiKey: testKeys.one, fetch: target.fetch }
      const compatible = createOpenAICompatible({ name: 'local', ...sdk, supportsStructuredOutputs: true })
      for (const model of [compatible('tiny'), createOpenAI(sdk).chat('tiny')]) {
        const asked = { model, prompt: 'Who?', maxOutputTokens: 300, ...noisy }
        const { object } = await generateObject({ ...asked, schema: person })
        expect(person.parse(object)).toEqual(object)
        const choice = await generateObject({ ...asked, output: 'enum', enum: ['red', 'green'] })
        expect(['red', 'green']).toContain(choice.object)
        const stream = streamObject({ ...asked, schema: person })
        for await (const _ of stream.partialObjectStream);
        expect(await stream.object).toEqual(object)
      }
    })

    shapeClients(() => target)

    test('openai: usage comes last where requested, and counts cached tokens', async () => {
      const long = [{ role: 'user' as const, content: 'a beginning that is longer than two pages of tokens are' }]
      const ask = () =>
        client.chat.completions.create({
          ...plain,
          messages: long,
          stream: true,
          stream_options: { include_usage: true },
        })
      const last = async () => {
        let chunk: OpenAI.Chat.ChatCompletionChunk | undefined
        for await (chunk of await ask());
        return chunk!
      }
      await last()
      const { choices, usage } = await last()
      expect(choices).toEqual([])
      expect(usage!.prompt_tokens_details!.cached_tokens).toBeGreaterThanOrEqual(32)
      expect(usage!.total_tokens).toBe(usage!.prompt_tokens + 24)
    })

    test('openai and ai: embeddings of texts', async () => {
      const input = ['one text', 'another']
      const { data } = await client.embeddings.create({ model: 'tiny', input, ...{ pooling: 'mean' } })
      expect(data.map(({ embedding }) => embedding.length)).toEqual([256, 256])
      const provider = createOpenAICompatible({
        name: 'foretoken',
        baseURL: `${target.url}/v1`,
        apiKey: testKeys.one,
        fetch: async (url, init) =>
          target.fetch(url, { ...init, body: JSON.stringify({ ...JSON.parse(String(init?.body)), pooling: 'mean' }) }),
      })
      const { embeddings } = await embedMany({ model: provider.textEmbeddingModel('tiny'), values: input })
      expect(embeddings.map((one) => one.map(Math.fround))).toEqual(data.map(({ embedding }) => embedding))
      await expect(client.embeddings.create({ model: 'tiny', input })).rejects.toMatchObject({ status: 400 })
    })

    test('openai: choices, log-probabilities and stop strings', async () => {
      // A bias makes the model answer in letters.
      const logit_bias = Object.fromEntries([...'abc'].map((letter) => [letter.charCodeAt(0), 100]))
      const drawn = { ...plain, temperature: 1, logit_bias }
      const answer = await client.chat.completions.create({ ...drawn, seed: 7, n: 2, logprobs: true, top_logprobs: 3 })
      const [first, second] = answer.choices.map(({ message }) => message.content!)
      expect(first).toMatch(/^[abc]{24}$/)
      const alone = await client.chat.completions.create({ ...drawn, seed: 8 })
      expect(alone.choices[0]!.message.content).toBe(second)
      const scored = answer.choices[0]!.logprobs!.content!
      expect(scored.map(({ token }) => token).join('')).toBe(first)
      for (const { token, bytes, logprob, top_logprobs } of scored) {
        expect(bytes).toEqual([token.charCodeAt(0)])
        expect(top_logprobs).toHaveLength(3)
        expect(top_logprobs[0]!.logprob).toBeGreaterThanOrEqual(logprob)
      }
      const stop = first!.slice(6, 9)
      const stopped = await client.chat.completions.create({ ...drawn, seed: 7, stop: [stop, 'never'] })
      expect(stopped.choices[0]).toMatchObject({
        finish_reason: 'stop',
        message: { content: first!.slice(0, first!.indexOf(stop)) },
      })
    })

    test('openai: text completions, of several prompts', async () => {
      const many = await client.completions.create({
        model: 'tiny',
        prompt: ['one', 'two'],
        max_tokens: 5,
        temperature: 0,
        echo: true,
      })
      expect(many.choices.map(({ index, text }) => [index, text.slice(0, 3)])).toEqual([
        [0, 'one'],
        [1, 'two'],
      ])
      let text = ''
      const stream = await client.completions.create({
        model: 'tiny',
        prompt: 'one',
        max_tokens: 5,
        temperature: 0,
        stream: true,
      })
      for await (const chunk of stream) text += chunk.choices[0]!.text
      expect(`one${text}`).toBe(many.choices[0]!.text)
    })

    test('openai: responses, whole and streamed', async () => {
      const ask = { model: 'tiny', input: 'What is this?', temperature: 0, max_output_tokens: 12 }
      const whole = await client.responses.create(ask)
      expect(whole.output_text).not.toBe('')
      expect(whole.status).toBe('incomplete')
      const numbers: number[] = []
      const types: string[] = []
      let text = ''
      for await (const event of await client.responses.create({ ...ask, stream: true })) {
        numbers.push(event.sequence_number)
        types.push(event.type)
        if (event.type === 'response.output_text.delta') text += event.delta
        if (event.type === 'response.incomplete') expect(event.response.output).toMatchObject([{ content: [{ text }] }])
      }
      expect(text).toBe(whole.output_text)
      expect(numbers).toEqual(numbers.map((_, index) => index))
      expect([types[0], types.at(-1)]).toEqual(['response.created', 'response.incomplete'])
    })

    test('openai: refusals raise its own error classes', async () => {
      const tools = [1, 2].map(() => ({ type: 'function' as const, function: { name: 'f', parameters: {} } }))
      await expect(client.chat.completions.create({ ...plain, tools })).rejects.toMatchObject({
        status: 400,
        param: 'tools[1]',
      })
      await expect(client.chat.completions.create({ ...plain, model: 'gpt-9' })).rejects.toBeInstanceOf(
        OpenAI.NotFoundError,
      )
      const stranger = client.withOptions({ apiKey: 'nobody' })
      await expect(stranger.models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError)
      const long = [{ role: 'user' as const, content: 'x'.repeat(4000) }]
      await expect(client.chat.completions.create({ ...plain, messages: long, stream: true })).rejects.toMatchObject({
        status: 400,
        code: 'context_length_exceeded',
      })
    })

    const settings = { temperature: 0, maxOutputTokens: 12, maxRetries: 0, prompt: 'What is this?' }
    const providers = () => {
      const given = { baseURL: `${target.url}/v1`, apiKey: testKeys.one, fetch: target.fetch }
      const compatible = createOpenAICompatible({ ...given, name: 'foretoken', includeUsage: true })
      return {
        responses: createOpenAI(given)('tiny'),
        chat: createOpenAI(given).chat('tiny'),
        compatible: compatible('tiny'),
      }
    }

    test.each(['responses', 'chat', 'compatible'] as const)('ai: %s, whole and streamed', async (name) => {
      const model = providers()[name]
      const whole = await generateText({ ...settings, model })
      expect(whole.text).not.toBe('')
      expect(whole.finishReason).toBe('length')
      const streamed = streamText({ ...settings, model })
      let text = ''
      for await (const part of streamed.textStream) text += part
      expect(text).toBe(whole.text)
      expect(await streamed.usage).toMatchObject({ outputTokens: 12 })
    })

    test('@anthropic-ai/sdk: a message, whole and streamed, a count and a refusal', async () => {
      const { url: baseURL, fetch } = target
      const client = new Anthropic({ baseURL, fetch, apiKey: testKeys.one, maxRetries: 0 })
      const ask = { model: 'tiny', messages: [...messages], temperature: 0, max_tokens: 24 }
      const whole = await client.messages.create(ask)
      expect(whole).toMatchObject({
        content: [{ type: 'text', text: expect.stringMatching(/./s) }],
        stop_reason: 'max_tokens',
      })
      const { content, usage } = await client.messages.stream(ask).finalMessage()
      expect(content).toEqual(whole.content)
      const { input_tokens } = await client.messages.countTokens({ model: 'tiny', messages: [...messages] })
      expect(usage.input_tokens + usage.cache_read_input_tokens!).toBe(input_tokens)
      await expect(client.messages.create({ ...ask, model: 'other' })).rejects.toBeInstanceOf(Anthropic.NotFoundError)
      for await (const { id } of client.models.list()) expect(id).toBe('tiny')
    })

    test('ollama: the model, a chat, whole and streamed, a text and a refusal', async () => {
      const headers = { authorization: `Bearer ${testKeys.one}` }
      const client = new Ollama({ host: target.url, fetch: target.fetch, headers })
      expect((await client.list()).models.map(({ name }) => name)).toEqual(['tiny:latest'])
      expect((await client.show({ model: 'tiny' })).capabilities).toContain('completion')
      const options = { temperature: 0, num_predict: 24 }
      const ask = { model: 'tiny:latest', messages: [...messages], options }
      const whole = await client.chat(ask)
      expect(whole).toMatchObject({ done_reason: 'length', eval_count: 24 })
      let text = ''
      for await (const line of await client.chat({ ...ask, stream: true })) text += line.message.content
      expect(text).toBe(whole.message.content)
      expect((await client.generate({ model: 'tiny', prompt: 'What is this?', options })).response).toBe(text)
      await expect(client.chat({ ...ask, model: 'other' })).rejects.toThrow('there is no model "other"')
    })

    test('a client that disconnects frees its pages', async () => {
      const stop = new AbortController()
      const stream = await client.chat.completions.create(
        { ...plain, max_tokens: 900, stream: true },
        { signal: stop.signal },
      )
      for await (const _ of stream) break
      stop.abort()
      for (let tries = 0; ; tries++) {
        const page = await target.fetch(`${target.url}/metrics`, {
          headers: { authorization: `Bearer ${testKeys.one}` },
        })
        const text = await page.text()
        const value = (metric: string) => Number(new RegExp(`^${metric} (.*)$`, 'm').exec(text)![1])
        if (value('foretoken_answers') === 0 && value('foretoken_kv_pages_in_use') === value('foretoken_prefix_pages'))
          break
        expect(tries).toBeLessThan(600)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    })
  })
}
