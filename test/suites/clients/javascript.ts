/**
 * JavaScript clients, called as their users do, with a common interface, so that one test drives
 * all.
 */
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import Anthropic from '@anthropic-ai/sdk'
import { AIMessage, type BaseMessage, HumanMessage } from '@langchain/core/messages'
import { ChatOpenAI } from '@langchain/openai'
import { generateText, type ModelMessage, streamText } from 'ai'
import { Ollama } from 'ollama'
import OpenAI from 'openai'

export interface Turn {
  readonly role: 'user' | 'assistant'
  readonly content: string
}

export interface Client {
  readonly name: string
  chat(turns: readonly Turn[], model?: string): Promise<string>
  /** Streams an answer; leaving the loop ends the request. */
  stream(turns: readonly Turn[], tokens: number, signal?: AbortSignal): AsyncIterable<string>
}

const tokens = 24

export function javascriptClients(url: string, apiKey: string): readonly Client[] {
  return [
    openai(url, apiKey),
    openaiResponses(url, apiKey),
    ...ai(url, apiKey),
    langchain(url, apiKey),
    anthropic(url, apiKey),
    ollama(url, apiKey),
  ]
}

function openai(url: string, apiKey: string): Client {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 })
  const of = (turns: readonly Turn[]) => ({
    messages: [...turns],
    temperature: 0,
    stop: null,
    logit_bias: null,
    n: null,
  })
  return {
    name: 'openai',
    async chat(turns, model = 'tiny') {
      const answer = await client.chat.completions.create({ ...of(turns), model, max_tokens: tokens })
      return answer.choices[0]!.message.content!
    },
    async *stream(turns, max_tokens, signal) {
      const options = signal ? { signal } : {}
      const ask = { ...of(turns), model: 'tiny', max_tokens, stream: true as const }
      for await (const chunk of await client.chat.completions.create(ask, options))
        yield chunk.choices[0]?.delta.content ?? ''
    },
  }
}

function openaiResponses(url: string, apiKey: string): Client {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 })
  const of = (turns: readonly Turn[]) => ({
    input: turns.map((turn) => ({ ...turn })),
    temperature: 0,
    store: false,
    previous_response_id: null,
    reasoning: null,
  })
  return {
    name: 'openai, responses',
    async chat(turns, model = 'tiny') {
      return (await client.responses.create({ ...of(turns), model, max_output_tokens: tokens })).output_text
    },
    async *stream(turns, max_output_tokens, signal) {
      const options = signal ? { signal } : {}
      const ask = { ...of(turns), model: 'tiny', max_output_tokens, stream: true as const }
      for await (const event of await client.responses.create(ask, options))
        if (event.type === 'response.output_text.delta') yield event.delta
    },
  }
}

function ai(url: string, apiKey: string): Client[] {
  const given = { baseURL: `${url}/v1`, apiKey }
  const compatible = createOpenAICompatible({ ...given, name: 'foretoken', includeUsage: true })
  const kinds = {
    'ai, responses': (model: string) => createOpenAI(given)(model),
    'ai, chat': (model: string) => createOpenAI(given).chat(model),
    'ai, compatible': (model: string) => compatible(model),
  }
  return Object.entries(kinds).map(([name, modelOf]): Client => {
    const of = (turns: readonly Turn[]) => ({
      messages: turns as ModelMessage[],
      temperature: 0,
      maxRetries: 0,
      providerOptions: { openai: { store: false } },
    })
    return {
      name,
      async chat(turns, model = 'tiny') {
        return (await generateText({ ...of(turns), model: modelOf(model), maxOutputTokens: tokens })).text
      },
      async *stream(turns, maxOutputTokens, signal) {
        const abort = signal ? { abortSignal: signal } : {}
        yield* streamText({ ...of(turns), model: modelOf('tiny'), maxOutputTokens, ...abort }).textStream
      },
    }
  })
}

function langchain(url: string, apiKey: string): Client {
  const of = (model: string, maxTokens: number) =>
    new ChatOpenAI({ model, apiKey, temperature: 0, maxTokens, maxRetries: 0, configuration: { baseURL: `${url}/v1` } })
  const messages = (turns: readonly Turn[]): BaseMessage[] =>
    turns.map(({ role, content }) => (role === 'user' ? new HumanMessage(content) : new AIMessage(content)))
  return {
    name: '@langchain/openai',
    async chat(turns, model = 'tiny') {
      return (await of(model, tokens).invoke(messages(turns))).text
    },
    async *stream(turns, maxTokens, signal) {
      const options = signal ? { signal } : {}
      for await (const chunk of await of('tiny', maxTokens).stream(messages(turns), options)) yield chunk.text
    },
  }
}

function anthropic(url: string, apiKey: string): Client {
  const client = new Anthropic({ baseURL: url, apiKey, maxRetries: 0 })
  const of = (turns: readonly Turn[]) => ({
    messages: [...turns],
    temperature: 0,
    system: [{ type: 'text' as const, text: 'Be brief.', cache_control: { type: 'ephemeral' as const } }],
    metadata: { user_id: 'u' },
  })
  return {
    name: '@anthropic-ai/sdk',
    async chat(turns, model = 'tiny') {
      const { content } = await client.messages.create({ ...of(turns), model, max_tokens: tokens })
      return content.map((block) => (block.type === 'text' ? block.text : '')).join('')
    },
    async *stream(turns, max_tokens, signal) {
      const options = signal ? { signal } : {}
      for await (const event of client.messages.stream({ ...of(turns), model: 'tiny', max_tokens }, options))
        if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') yield event.delta.text
    },
  }
}

function ollama(url: string, apiKey: string): Client {
  const client = new Ollama({ host: url, headers: { authorization: `Bearer ${apiKey}` } })
  const of = (turns: readonly Turn[], num_predict: number) => ({
    messages: turns.map((turn) => ({ ...turn })),
    keep_alive: '5m',
    options: { temperature: 0, num_predict, num_ctx: 4096 },
  })
  return {
    name: 'ollama',
    async chat(turns, model = 'tiny') {
      return (await client.chat({ ...of(turns, tokens), model, stream: false })).message.content
    },
    async *stream(turns, num_predict, signal) {
      const lines = await client.chat({ ...of(turns, num_predict), model: 'tiny:latest', stream: true })
      signal?.addEventListener('abort', () => lines.abort())
      for await (const line of lines) yield line.message.content
    },
  }
}
