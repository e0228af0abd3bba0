/** Makes a response object: in progress, finished or failed. */
import type { DoneEvent } from '../../src/index.ts'
import type { ApiError } from '../errors.ts'
import { newId } from '../ids.ts'
import type { ResponsesRequest } from '../schemas/responses.ts'
import { countsOf, reportOf } from '../usage.ts'
import type { AnswerParts } from './parts.ts'
import { type ItemStatus, isCutCall, itemBody, type ResponseItem, statusOf } from './response-items.ts'

interface ResponseFacts {
  readonly model: string
  /** Seconds since 1970. */
  readonly created: number
  readonly temperature: number
}

export class ResponseShape {
  readonly id = newId('resp', '_')
  readonly #body: ResponsesRequest
  readonly #facts: ResponseFacts

  constructor(body: ResponsesRequest, facts: ResponseFacts) {
    this.#body = body
    this.#facts = facts
  }

  begun() {
    return this.#object('in_progress', [], {})
  }

  /** Returns the whole response. `items` are those of the answer. */
  finished(done: DoneEvent, items: readonly ResponseItem[], { reasoningTokens }: AnswerParts) {
    const status = this.statusOf(done, items)
    const { prompt, cached, completion } = countsOf([done], 1)
    // Only the last item can be cut short.
    const last = items.length - 1
    const output = items.map((item, index) => itemBody(item, statusOf(item, index === last ? status : 'completed')))
    return this.#object(status, output, {
      // The API has no word for a call that a stop string cut.
      incomplete_details:
        status === 'completed' ? null : done.finishReason === 'stop' ? {} : { reason: 'max_output_tokens' },
      usage: {
        input_tokens: prompt,
        input_tokens_details: { cached_tokens: cached },
        output_tokens: completion,
        output_tokens_details: { reasoning_tokens: reasoningTokens },
        total_tokens: prompt + completion,
        foretoken: reportOf(done),
      },
    })
  }

  statusOf({ finishReason }: DoneEvent, items: readonly ResponseItem[]): ItemStatus {
    return finishReason === 'stop' && !isCutCall(items.at(-1)) ? 'completed' : 'incomplete'
  }

  failed(error: ApiError) {
    return this.#object('failed', [], { error: { code: error.code, message: error.message } })
  }

  #object(status: string, output: readonly object[], more: object) {
    const { instructions, max_output_tokens, top_p, metadata, user, top_logprobs, text } = this.#body
    const { tools, tool_choice, parallel_tool_calls, reasoning } = this.#body
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
      parallel_tool_calls: parallel_tool_calls ?? true,
      previous_response_id: null,
      reasoning: { effort: reasoning?.effort ?? null, summary: null },
      service_tier: 'default',
      store: false,
      temperature,
      text: { format: text?.format ?? { type: 'text' } },
      tool_choice: tool_choice ?? 'auto',
      tools: (tools ?? []).map((tool) => ({ description: null, parameters: null, strict: true, ...tool })),
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
