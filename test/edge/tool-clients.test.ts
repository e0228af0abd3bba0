/** Unmodified clients that call tools, on a local socket: an engine says what a model would. */
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { HumanMessage, ToolMessage } from '@langchain/core/messages'
import { tool as langchainTool } from '@langchain/core/tools'
import { ChatOpenAI } from '@langchain/openai'
import { generateText, stepCountIs, streamText, tool } from 'ai'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createApp, serveNode } from '../../edge/node.ts'
import type { Engine } from '../../src/index.ts'
import { type Scripted, scripted } from '../helpers/scripted.ts'
import { testConfig, testKeys, tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
let made: Scripted
let serving: { url: string; close(): Promise<void> }
/** Calls a tool, and answers with its result when there is one. */
beforeAll(async () => {
  engine = await tinyEngine()
  made = scripted(engine, (_, prompt) => {
    const result = prompt.split('<tool_response>\n').at(-1)?.split('\n</tool_response>')[0] ?? ''
    return prompt.includes('</tool_response><|im_end|>')
      ? `It is ${result}.`
      : 'One moment.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
  })
  const app = createApp({ engine: made.service, config: { ...testConfig, models: ['tiny'] } })
  serving = await serveNode({ port: 0, fetch: app.fetch })
})
afterAll(async () => {
  await serving?.close()
  await engine?.close()
})

const question = 'How is the weather?'
const answer = 'It is "rain in Oslo".'
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
const weather = ({ city }: { city: string }) => `rain in ${city}`

describe('openai', () => {
  const client = () => new OpenAI({ baseURL: `${serving.url}/v1`, apiKey: testKeys.one, maxRetries: 0 })
  const asked = { model: 'tiny', messages: [{ role: 'user' as const, content: question }] }
  const definition = { type: 'function' as const, function: { name: 'weather', parameters } }

  test('a call, and the answer to its result', async () => {
    const { choices } = await client().chat.completions.create({ ...asked, tools: [definition] })
    const { message, finish_reason } = choices[0]!
    expect(finish_reason).toBe('tool_calls')
    const [call] = message.tool_calls!
    if (call?.type !== 'function') throw new Error('there is no call')
    expect(JSON.parse(call.function.arguments)).toEqual({ city: 'Oslo' })
    const content = JSON.stringify(weather(JSON.parse(call.function.arguments)))
    const messages = [...asked.messages, message, { role: 'tool' as const, tool_call_id: call.id, content }]
    const second = await client().chat.completions.create({ ...asked, messages, tools: [definition] })
    expect(second.choices[0]!.message.content).toBe(answer)
    expect(second.choices[0]!.finish_reason).toBe('stop')
  })

  test('`stream` puts the deltas together', async () => {
    const stream = client().chat.completions.stream({ ...asked, tools: [definition] })
    const names: string[] = []
    stream.on('tool_calls.function.arguments.done', ({ name, arguments: text }) => names.push(`${name} ${text}`))
    const { content, tool_calls } = (await stream.finalChatCompletion()).choices[0]!.message
    expect(content).toBe('One moment.')
    expect(tool_calls).toMatchObject([{ function: { name: 'weather', arguments: '{"city": "Oslo"}' } }])
    expect(names).toEqual(['weather {"city": "Oslo"}'])
  })

  test.each([false, true])('`runTools`, streamed: %s', async (stream) => {
    const runnable = {
      type: 'function' as const,
      function: { name: 'weather', description: 'Weather.', parameters, parse: JSON.parse, function: weather },
    }
    const options = { ...asked, tools: [runnable] }
    const runner = stream
      ? client().chat.completions.runTools({ ...options, stream: true })
      : client().chat.completions.runTools(options)
    expect(await runner.finalContent()).toBe('It is rain in Oslo.')
  })

  test('responses: a call, and the answer to its result', async () => {
    const tools = [{ type: 'function' as const, name: 'weather', parameters, strict: true }]
    const input: OpenAI.Responses.ResponseInput = [{ role: 'user', content: question }]
    const first = await client().responses.create({ model: 'tiny', input, tools, store: false })
    const call = first.output.find(({ type }) => type === 'function_call')
    if (call?.type !== 'function_call') throw new Error('there is no call')
    input.push(...(first.output as OpenAI.Responses.ResponseInput), {
      type: 'function_call_output',
      call_id: call.call_id,
      output: '"rain in Oslo"',
    })
    const second = await client().responses.create({ model: 'tiny', input, tools, store: false })
    expect(second.output_text).toBe(answer)
  })

  test('responses: a stream', async () => {
    const tools = [{ type: 'function' as const, name: 'weather', parameters, strict: true }]
    const stream = client().responses.stream({ model: 'tiny', input: question, tools, store: false })
    let text = ''
    for await (const event of stream) if (event.type === 'response.function_call_arguments.delta') text += event.delta
    expect(text).toBe('{"city": "Oslo"}')
    const { output } = await stream.finalResponse()
    expect(output).toMatchObject([{ type: 'message' }, { type: 'function_call', name: 'weather' }])
  })
})

describe('ai', () => {
  const given = () => ({ baseURL: `${serving.url}/v1`, apiKey: testKeys.one })
  const models = {
    responses: () => createOpenAI(given())('tiny'),
    chat: () => createOpenAI(given()).chat('tiny'),
    compatible: () => createOpenAICompatible({ ...given(), name: 'foretoken' })('tiny'),
  }
  const options = {
    prompt: question,
    maxRetries: 0,
    providerOptions: { openai: { store: false } },
    tools: {
      weather: tool({ inputSchema: z.object({ city: z.string() }), execute: async (input) => weather(input) }),
    },
  }

  test.each(Object.entries(models))('%s: two steps', async (_, model) => {
    const { steps, text } = await generateText({ ...options, model: model(), stopWhen: stepCountIs(3) })
    expect(steps).toHaveLength(2)
    expect(steps[0]!.toolCalls).toMatchObject([{ toolName: 'weather', input: { city: 'Oslo' } }])
    expect(text).toMatch(/^It is "?rain in Oslo"?\.$/)
  })

  test.each(Object.entries(models))('%s: two steps, streamed', async (_, model) => {
    const result = streamText({ ...options, model: model(), stopWhen: stepCountIs(3) })
    let text = ''
    for await (const part of result.textStream) text += part
    expect(text).toMatch(/^One moment\.It is "?rain in Oslo"?\.$/)
    expect(await result.steps).toHaveLength(2)
  })
})

describe('@langchain/openai', () => {
  const tools = [
    langchainTool(weather, { name: 'weather', description: 'Weather.', schema: z.object({ city: z.string() }) }),
  ]
  const model = () =>
    new ChatOpenAI({
      model: 'tiny',
      apiKey: testKeys.one,
      maxRetries: 0,
      configuration: { baseURL: `${serving.url}/v1` },
    }).bindTools(tools)

  test('a call, and the answer to its result', async () => {
    const first = await model().invoke([new HumanMessage(question)])
    const [call] = first.tool_calls!
    expect(call).toMatchObject({ name: 'weather', args: { city: 'Oslo' } })
    const result = new ToolMessage({ tool_call_id: call!.id!, content: '"rain in Oslo"' })
    expect((await model().invoke([new HumanMessage(question), first, result])).text).toBe(answer)
  })

  test('a stream', async () => {
    let whole: Awaited<ReturnType<ReturnType<typeof model>['invoke']>> | undefined
    for await (const chunk of await model().stream(question)) whole = whole ? whole.concat(chunk) : chunk
    expect(whole?.tool_calls).toMatchObject([{ name: 'weather', args: { city: 'Oslo' } }])
  })
})
