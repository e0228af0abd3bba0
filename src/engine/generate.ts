/** Submits a request and reads its events, as one call or one loop. */

import { fieldsOf, withArguments } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import type { PromptInput } from '../base/prompt.ts'
import type { DoneEvent, GenerateEvent } from '../stream/events.ts'
import { checkedRequest, type GenerateOptions, type GenerateRequest } from './options.ts'
import type { TextService } from './service.ts'

/**
 * Reads all events and resolves with the last. Rejects with `bad_argument` if another reader has
 * already read it.
 */
export async function resultOf(events: AsyncIterable<GenerateEvent>): Promise<DoneEvent> {
  for await (const event of events) if (event.type === 'done') return event
  throw new ForetokenError('bad_argument', 'the events were read before')
}

/**
 * Submits a prompt or a request on the first `next()`, and yields its events. Rejects with what
 * `prepare` and `submit` throw.
 */
export async function* generateFrom(
  service: Pick<TextService, 'prepare' | 'submit'>,
  prompt: PromptInput | GenerateRequest,
  options: GenerateOptions,
): AsyncGenerator<GenerateEvent> {
  const request = withArguments('generate', () => {
    if (isRequest(prompt)) return checkedRequest(prompt)
    return checkedRequest({ ...fieldsOf('the options', options, 'be absent'), prompt })
  })
  yield* service.submit({ ...request, prompt: await service.prepare(request.prompt, request) })
}

/** Prompts are texts and lists; any other object can only be a request. */
function isRequest(value: PromptInput | GenerateRequest): value is GenerateRequest {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
