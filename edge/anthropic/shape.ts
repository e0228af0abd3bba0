/** Makes the message that answers a request: as it begins, and complete. */
import type { Answer, DoneEvent } from '../../src/index.ts'
import { type AnswerParts, objectOf } from '../endpoints/parts.ts'
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
    return this.#message(items.all.filter(isWhole).map(blockOf), delta, { ...usage, ...constant })
  }

  /** How the message ended, and its counts. */
  ended(done: DoneEvent, { endsInCall, reasoningTokens }: AnswerParts): Pick<Ending, 'delta' | 'usage'> {
    const { prompt, cached, completion } = countsOf([done], 1)
    const reason = endsInCall && done.finishReason === 'stop' ? 'tool_use' : stopReason(done)
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

/** Returns an item of an answer as a block. A call that has just begun has an empty input. */
export function blockOf(item: ResponseItem): MessageBlock {
  if (item.type === 'message') return { type: 'text', text: item.text, citations: null }
  if (item.type === 'reasoning') return { type: 'thinking', thinking: item.text, signature: '' }
  const { callId: id, name, text } = item
  return { type: 'tool_use', id, name, input: objectOf(text) ?? {}, caller: { type: 'direct' } }
}

/** Returns false for a call whose input is not whole: it must not be run. */
function isWhole(item: ResponseItem): boolean {
  return item.type !== 'function_call' || objectOf(item.text) !== undefined
}

function stopReason({ finishReason, stop }: DoneEvent): NonNullable<MessagesResponse['stop_reason']> {
  if (stop !== undefined) return 'stop_sequence'
  if (finishReason === 'stop') return 'end_turn'
  return finishReason === 'length' ? 'max_tokens' : 'model_context_window_exceeded'
}
