/** Makes the message that answers a request: as it begins, and complete. */
import type { Answer, DoneEvent } from '../../src/index.ts'
import { newId } from '../ids.ts'
import { countsOf, reportOf } from '../usage.ts'
import type { MessagesEvent, MessagesResponse } from './schemas.ts'

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

  finished(done: DoneEvent): MessagesResponse {
    const { delta, usage } = this.ended(done)
    return this.#message(done.text === '' ? [] : [this.block(done.text)], delta, { ...usage, ...constant })
  }

  /** How the message ended, and its counts. */
  ended(done: DoneEvent): Pick<Ending, 'delta' | 'usage'> {
    const { prompt, cached, completion } = countsOf([done], 1)
    return {
      delta: { ...running, stop_reason: stopReason(done), stop_sequence: done.stop ?? null },
      usage: { ...tokens(prompt, cached, completion), foretoken: reportOf(done) },
    }
  }

  block(text: string): MessagesResponse['content'][number] {
    return { type: 'text', text, citations: null }
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

function stopReason({ finishReason, stop }: DoneEvent): NonNullable<MessagesResponse['stop_reason']> {
  if (stop !== undefined) return 'stop_sequence'
  if (finishReason === 'stop') return 'end_turn'
  return finishReason === 'length' ? 'max_tokens' : 'model_context_window_exceeded'
}
