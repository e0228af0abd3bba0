/**
 * Tests of a server with unmodified clients that ask for a shape or give tools, the same on every
 * host. The model is random, so that everything in an answer that is right is the grammar's doing.
 */
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import Anthropic from '@anthropic-ai/sdk'
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod'
import { HumanMessage, ToolMessage } from '@langchain/core/messages'
import { tool as langchainTool } from '@langchain/core/tools'
import { ChatOpenAI } from '@langchain/openai'
import { generateText, stepCountIs, streamText, tool } from 'ai'
import { Ollama } from 'ollama'
import OpenAI from 'openai'
import { zodFunction } from 'openai/helpers/zod'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { testKeys } from '../helpers/tiny-server.ts'
import type { Target } from './openai-clients.ts'

const weather = z.object({ city: z.enum(['Oslo', 'Rome']), days: z.int().min(1).max(9) })
type Weather = z.infer<typeof weather>
const about = ({ city, days }: Weather) => `rain in ${city} for ${days} days`
const person = z.object({ name: z.string().max(6), tea: z.boolean().nullable() })
/** Without bounds: this client moves them into descriptions, and checks them afterwards. */
const mood = z.object({ mood: z.enum(['good', 'bad']), tea: z.boolean().nullable() })
/** A temperature at which no two answers are the same by chance. */
const noisy = { temperature: 1, seed: 4 }
const question = 'How is it?'

/** Adds the tests to a suite whose server `target` returns. */
export function shapeClients(target: () => Target): void {
  const given = () => ({ baseURL: `${target().url}/v1`, apiKey: testKeys.one, fetch: target().fetch, maxRetries: 0 })
  const openai = () => new OpenAI(given())

  test('openai: a call that is required, whole and streamed, and an answer to its result', async () => {
    const tools = [zodFunction({ name: 'weather', parameters: weather })]
    const asked = { model: 'tiny', ...noisy, max_tokens: 300, tools }
    const messages: OpenAI.Chat.ChatCompletionMessageParam[] = [{ role: 'user', content: question }]
    const required = { ...asked, messages, tool_choice: 'required' as const }
    const { message, finish_reason } = (await openai().chat.completions.parse(required)).choices[0]!
    expect(finish_reason).toBe('tool_calls')
    const [call] = message.tool_calls!
    if (call?.type !== 'function') throw new Error('there is no call')
    expect(weather.parse(call.function.parsed_arguments)).toEqual(call.function.parsed_arguments)
    const final = await openai().chat.completions.stream(required).finalChatCompletion()
    expect(final.choices[0]!.message.tool_calls).toMatchObject([{ function: call.function }])
    const content = about(weather.parse(call.function.parsed_arguments))
    messages.push(message, { role: 'tool', tool_call_id: call.id, content })
    const second = await openai().chat.completions.create({ ...asked, messages, tool_choice: 'none', max_tokens: 24 })
    expect(second.choices[0]!.message.content).toMatch(/./s)
    expect(second.choices[0]!.message.tool_calls).toBeUndefined()
  })

  test('openai: a response with a call, whole and streamed', async () => {
    const { function: definition } = zodFunction({ name: 'weather', parameters: weather })
    const tools = [{ type: 'function' as const, name: 'weather', parameters: definition.parameters!, strict: true }]
    const asked = {
      model: 'tiny',
      input: question,
      tools,
      tool_choice: 'required' as const,
      temperature: 1,
      store: false,
    }
    const whole = await openai().responses.create({ ...asked, max_output_tokens: 300 })
    const call = whole.output.find(({ type }) => type === 'function_call')
    if (call?.type !== 'function_call') throw new Error('there is no call')
    expect(weather.safeParse(JSON.parse(call.arguments)).success).toBe(true)
    let text = ''
    for await (const event of openai().responses.stream({ ...asked, max_output_tokens: 300 }))
      if (event.type === 'response.function_call_arguments.delta') text += event.delta
    expect(weather.safeParse(JSON.parse(text)).success).toBe(true)
  })

  test('ai: tools with two steps, whole and streamed', async () => {
    const { maxRetries: _, ...sdk } = given()
    const models = [createOpenAI(sdk).chat('tiny'), createOpenAICompatible({ name: 'local', ...sdk })('tiny')]
    for (const model of models) {
      const asked = {
        model,
        prompt: question,
        maxRetries: 0,
        maxOutputTokens: 300,
        ...noisy,
        tools: { weather: tool({ inputSchema: weather, execute: async (input) => about(input) }) },
        stopWhen: stepCountIs(2),
        prepareStep: ({ stepNumber }: { stepNumber: number }) => ({
          toolChoice: stepNumber === 0 ? ('required' as const) : ('none' as const),
        }),
      }
      const { steps } = await generateText(asked)
      expect(steps.map(({ toolCalls }) => toolCalls.length)).toEqual([1, 0])
      expect(steps[0]!.toolResults[0]!.output).toBe(about(weather.parse(steps[0]!.toolCalls[0]!.input)))
      const streamed = streamText(asked)
      for await (const _ of streamed.textStream);
      expect((await streamed.steps)[0]!.toolCalls[0]!.input).toEqual(steps[0]!.toolCalls[0]!.input)
      expect((await streamed.steps)[1]!.text).toBe(steps[1]!.text)
    }
  })

  test('@anthropic-ai/sdk: a parsed message, and a tool with its result, whole and streamed', async () => {
    const { url: baseURL, fetch } = target()
    const client = new Anthropic({ baseURL, fetch, apiKey: testKeys.one, maxRetries: 0 })
    const messages: Anthropic.MessageParam[] = [{ role: 'user', content: question }]
    const asked = { model: 'tiny', max_tokens: 300, temperature: 1 }
    const parsed = await client.messages.parse({
      ...asked,
      messages,
      output_config: { format: zodOutputFormat(mood) },
    })
    expect(mood.parse(parsed.parsed_output)).toEqual(parsed.parsed_output)
    const input_schema = z.toJSONSchema(weather) as Anthropic.Tool.InputSchema
    const withTools = { ...asked, tools: [{ name: 'weather', input_schema }] }
    const any = { ...withTools, messages, tool_choice: { type: 'any' as const } }
    const whole = await client.messages.create(any)
    const streamed = await client.messages.stream(any).finalMessage()
    for (const { content, stop_reason } of [whole, streamed]) {
      expect(stop_reason).toBe('tool_use')
      const use = content.find((block) => block.type === 'tool_use')!
      expect(weather.parse(use.input)).toEqual(use.input)
    }
    const use = whole.content.find((block) => block.type === 'tool_use')!
    messages.push(
      { role: 'assistant', content: whole.content },
      {
        role: 'user',
        content: [{ type: 'tool_result', tool_use_id: use.id, content: about(weather.parse(use.input)) }],
      },
    )
    const none = { ...withTools, messages, max_tokens: 24, tool_choice: { type: 'none' as const } }
    expect((await client.messages.create(none)).content).toMatchObject([{ type: 'text' }])
  })

  test('ollama: an answer with a format, whole and streamed, and a conversation with a tool', async () => {
    const headers = { authorization: `Bearer ${testKeys.one}` }
    const client = new Ollama({ host: target().url, fetch: target().fetch, headers })
    const messages = [{ role: 'user', content: question }]
    const options = { temperature: 1, seed: 4, num_predict: 300 }
    const asked = { model: 'tiny', messages, options, format: z.toJSONSchema(person) }
    const whole = await client.chat(asked)
    expect(person.safeParse(JSON.parse(whole.message.content)).success).toBe(true)
    let text = ''
    for await (const line of await client.chat({ ...asked, stream: true })) text += line.message.content
    expect(text).toBe(whole.message.content)
    // Ollama's API can't require a call; the format keeps the answer to its shape with tools, too.
    const definition = { name: 'weather', description: 'Weather.', parameters: z.toJSONSchema(weather) as object }
    const calls = [{ function: { name: 'weather', arguments: { city: 'Oslo', days: 1 } } }]
    const second = await client.chat({
      ...asked,
      tools: [{ type: 'function', function: definition }],
      messages: [
        ...messages,
        { role: 'assistant', content: '', tool_calls: calls },
        { role: 'tool', tool_name: 'weather', content: 'rain' },
      ],
    })
    const { content, tool_calls } = second.message
    if (tool_calls?.length) expect(weather.safeParse(tool_calls[0]!.function.arguments).success).toBe(true)
    else expect(person.safeParse(JSON.parse(content)).success).toBe(true)
  })

  test('@langchain/openai: structured output, and a tool with its result', async () => {
    const { url, fetch } = target()
    const configuration = { baseURL: `${url}/v1`, fetch }
    const settings = { model: 'tiny', apiKey: testKeys.one, maxRetries: 0, temperature: 1, maxTokens: 300 }
    const model = new ChatOpenAI({ ...settings, configuration, modelKwargs: { seed: 4 } })
    const shaped = model.withStructuredOutput(person, { name: 'person', method: 'jsonSchema', strict: true })
    expect(person.safeParse(await shaped.invoke(question)).success).toBe(true)
    const called = model.withStructuredOutput(weather, { name: 'weather', method: 'functionCalling' })
    expect(weather.safeParse(await called.invoke(question)).success).toBe(true)
    const tools = [langchainTool(about, { name: 'weather', description: 'Weather.', schema: weather })]
    const messages = [new HumanMessage(question)]
    const first = await model.bindTools(tools, { tool_choice: 'required' }).invoke(messages)
    expect(weather.safeParse(first.tool_calls![0]!.args).success).toBe(true)
    const result = new ToolMessage({ tool_call_id: first.tool_calls![0]!.id!, content: 'rain' })
    const last = await model.bindTools(tools, { tool_choice: 'none' }).invoke([...messages, first, result])
    expect(last.text).toMatch(/./s)
  })
}
