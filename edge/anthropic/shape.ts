/** Makes the message that answers a request: as it begins, and complete. */
import type { Answer, DoneEvent } from '../../src/index.ts'
import type { AnswerParts } from '../endpoints/parts.ts'
import { type ResponseItem, ResponseItems } from '../endpoints/response-items.ts'
import { newId } from '../ids.ts'
import { countsOf, reportOf } from '../usage.ts'
import type { MessageBlock, MessagesEvent, MessagesResponse } from './answer-schemas.ts'

type Ending = Extract<MessagesEvent, { type: 'message_delta' }>

export class MessageShape {
  readonly #id = newId('msg', '_')
  readonly #model: string

  constructor(model: string) {
    this.#model = model
  }

  /** The message as a stream begins it: without content. */
  begun({ timings, cached_tokens }: Answer['soFar']): MessagesResponse {
    const counts = tokens(timings.prompt_tokens, cached_tokens, 0)
    return this.#message([], running, { ...counts, ...constant })
  }

  finished(done: DoneEvent, parts: AnswerParts): MessagesResponse {
    const { delta, usage } = this.ended(done, parts)
    const items = new ResponseItems()
    for (const part of parts.all) items.add(part, parts.calls)
    return this.#message(items.all.map(blockOf), delta, { ...usage, ...constant })
  }

  /** How the message ended, and its counts. */
  ended(done: DoneEvent, { calls, reasoningTokens }: AnswerParts): Pick<Ending, 'delta' | 'usage'> {
    const { prompt, cached, completion } = countsOf([done], 1)
    const reason = calls.length > 0 && done.finishReason === 'stop' ? 'tool_use' : stopReason(done)
    const details = reasoningTokens > 0 ? { thinking_tokens: reasoningTokens } : null
    return {
      delta: {
        ...running,
        stop_reason: reason,
        stop_sequence: reason === 'stop_sequence' ? (done.stop ?? null) : null,
      },
      usage: {
        ...tokens(prompt, cached, completion),
        output_tokens_details: details,
        foretoken: reportOf(done),
      },
    }
  }

  #message(
    content: MessagesResponse['content'],
    ending: Ending['delta'],
    usage: MessagesResponse['usage'],
  ): MessagesResponse {
    return {
      id: this.#id,
      type: 'message',
      role: 'assistant',
      model: this.#model,
      content,
      ...ending,
      diagnostics: null,
      usage,
    }
  }
}

const running: Ending['delta'] = { stop_reason: null, stop_sequence: null, stop_details: null, container: null }

const constant = { cache_creation: null, inference_geo: null, service_tier: 'standard', speed: null } as const

/** Counts of tokens; those of the prompt that were cached are counted apart. */
function tokens(prompt: number, cached: number, output: number) {
  return {
    input_tokens: prompt - cached,
    cache_read_input_tokens: cached,
    cache_creation_input_tokens: 0,
    output_tokens: output,
    output_tokens_details: null,
    server_tool_use: null,
  }
}

/** Returns an item of an answer as a block. */
export function blockOf(item: ResponseItem): MessageBlock {
  if (item.type === 'message') return { type: 'text', text: item.text, citations: null }
  if (item.type === 'reasoning') return { type: 'thinking', thinking: item.text, signature: '' }
  const { callId: id, name, text } = item
  return { type: 'tool_use', id, name, input: inputOf(text), caller: { type: 'direct' } }
}

/** Returns the input of a call. It is not whole JSON only if the answer ended in its middle. */
function inputOf(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text)
  } catch {
    return {}
  }
}

function stopReason({ finishReason, stop }: DoneEvent): NonNullable<MessagesResponse['stop_reason']> {
  if (stop !== undefined) return 'stop_sequence'
  if (finishReason === 'stop') return 'end_turn'
  return finishReason === 'length' ? 'max_tokens' : 'model_context_window_exceeded'
}
