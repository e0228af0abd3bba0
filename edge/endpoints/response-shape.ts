/** Makes a response object: in progress, finished or failed. */
import type { DoneEvent } from '../../src/index.ts'
import type { ApiError } from '../errors.ts'
import { newId } from '../ids.ts'
import type { ResponsesRequest } from '../schemas/responses.ts'
import { countsOf, reportOf } from '../usage.ts'
import type { TokenLogprob } from './tokens.ts'

interface ResponseFacts {
  readonly model: string
  /** Seconds since 1970. */
  readonly created: number
  readonly temperature: number
}

export class ResponseShape {
  readonly id = newId('resp', '_')
  readonly itemId = newId('msg', '_')
  readonly #body: ResponsesRequest
  readonly #facts: ResponseFacts

  constructor(body: ResponsesRequest, facts: ResponseFacts) {
    this.#body = body
    this.#facts = facts
  }

  begun() {
    return this.#object('in_progress', [], {})
  }

  finished(done: DoneEvent, logprobs: readonly TokenLogprob[]) {
    const complete = done.finishReason === 'stop'
    const status = complete ? 'completed' : 'incomplete'
    const { prompt, cached, completion } = countsOf([done], 1)
    return this.#object(status, [this.item(status, [this.part(done.text, logprobs)])], {
      incomplete_details: complete ? null : { reason: 'max_output_tokens' },
      usage: {
        input_tokens: prompt,
        input_tokens_details: { cached_tokens: cached },
        output_tokens: completion,
        output_tokens_details: { reasoning_tokens: 0 },
        total_tokens: prompt + completion,
        foretoken: reportOf(done),
      },
    })
  }

  failed(error: ApiError) {
    return this.#object('failed', [], { error: { code: error.code, message: error.message } })
  }

  item(status: string, content: readonly object[]) {
    return { id: this.itemId, type: 'message', status, role: 'assistant', content }
  }

  part(text: string, logprobs: readonly TokenLogprob[]) {
    return { type: 'output_text', text, annotations: [], logprobs }
  }

  #object(status: string, output: readonly object[], more: object) {
    const { instructions, max_output_tokens, top_p, metadata, user, top_logprobs, text } = this.#body
    const { model, created, temperature } = this.#facts
    return {
      id: this.id,
      object: 'response',
      created_at: created,
      status,
      background: false,
      error: null,
      incomplete_details: null,
      instructions: instructions ?? null,
      max_output_tokens: max_output_tokens ?? null,
      model,
      output,
      parallel_tool_calls: false,
      previous_response_id: null,
      reasoning: { effort: null, summary: null },
      service_tier: 'default',
      store: false,
      temperature,
      text: { format: text?.format ?? { type: 'text' } },
      tool_choice: 'auto',
      tools: [],
      top_logprobs: top_logprobs ?? 0,
      top_p: top_p ?? 1,
      truncation: 'disabled',
      usage: null,
      user: user ?? null,
      metadata: metadata ?? {},
      ...more,
    }
  }
}
