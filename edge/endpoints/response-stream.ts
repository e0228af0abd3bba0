/**
 * Writes a response as events: created, its one item and part opened, deltas of text, all closed,
 * completed.
 */
import type { DoneEvent, TokenEvent } from '../../src/index.ts'
import type { ChoiceEvent } from '../choices.ts'
import type { ApiError } from '../errors.ts'
import { frame } from '../sse.ts'
import type { ResponseShape } from './response-shape.ts'
import type { TokenLogprob } from './tokens.ts'
import type { VisibleToken, VisibleTokens } from './visible.ts'

interface Parts {
  readonly shape: ResponseShape
  readonly visible: VisibleTokens
  /** Undefined if log-probabilities were not requested. */
  readonly logprob: ((token: TokenEvent) => TokenLogprob) | undefined
}

/** Returns what writes the events of a stream: a function for each event, and one for a failure. */
export function responseFrames({ shape, visible, logprob }: Parts) {
  const { itemId: item_id } = shape
  const place = { item_id, output_index: 0, content_index: 0 }
  const logprobs: TokenLogprob[] = []
  let number = 0
  let created = false
  let opened = false
  const event = (type: string, data: object) => frame({ type, sequence_number: number++, ...data }, type)

  const create = () => {
    if (created) return ''
    created = true
    return (
      event('response.created', { response: shape.begun() }) +
      event('response.in_progress', { response: shape.begun() })
    )
  }
  const open = () => {
    if (opened) return ''
    opened = true
    return (
      create() +
      event('response.output_item.added', { output_index: 0, item: shape.item('in_progress', []) }) +
      event('response.content_part.added', { ...place, part: shape.part('', []) })
    )
  }
  const delta = (text: string, tokens: readonly VisibleToken[]) => {
    const scored = logprob ? tokens.map(({ token }) => logprob(token)) : []
    for (const one of scored) logprobs.push(one)
    if (text === '' && scored.length === 0) return ''
    return event('response.output_text.delta', { ...place, delta: text, logprobs: scored })
  }
  const close = (done: DoneEvent) => {
    const response = shape.finished(done, logprobs)
    const part = shape.part(done.text, logprobs)
    return (
      event('response.output_text.done', { ...place, text: done.text, logprobs }) +
      event('response.content_part.done', { ...place, part }) +
      event('response.output_item.done', { output_index: 0, item: shape.item(response.status, [part]) }) +
      event(`response.${response.status}`, { response })
    )
  }

  return {
    frame(one: ChoiceEvent): string {
      if (one.type === 'progress') return create() + event('foretoken.progress', { done: one.done, total: one.total })
      if (one.type === 'token') return open() + delta(one.token.text, visible.push(one.token))
      return open() + delta('', visible.finish()) + close(one.done)
    },
    failed(error: ApiError): string {
      return (
        create() +
        event('error', { code: error.code, message: error.message, param: error.param ?? null }) +
        event('response.failed', { response: shape.failed(error) })
      )
    },
  }
}
