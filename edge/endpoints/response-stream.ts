/**
 * Writes a response as events: created; each item opened, its deltas, and closed; completed. Items
 * are thoughts, messages and calls.
 */
import type { DoneEvent, TokenEvent } from '../../src/index.ts'
import type { ChoiceEvent } from '../choices.ts'
import type { ApiError } from '../errors.ts'
import { frame } from '../sse.ts'
import type { Answered, News, ReadAnswer } from './collect.ts'
import {
  type ItemChange,
  itemBody,
  type ResponseItem,
  ResponseItems,
  reasoningPart,
  textPart,
} from './response-items.ts'
import type { ResponseShape } from './response-shape.ts'
import type { TokenLogprob } from './tokens.ts'

interface Parts {
  readonly shape: ResponseShape
  readonly answer: ReadAnswer
  /** Undefined if log-probabilities were not requested. */
  readonly logprob: ((token: TokenEvent) => TokenLogprob) | undefined
}

/** Returns what writes the events of a stream: a function for each event, and one for a failure. */
export function responseFrames({ shape, answer, logprob }: Parts) {
  const items = new ResponseItems()
  let number = 0
  let created = false
  const event = (type: string, data: object) => frame({ type, sequence_number: number++, ...data }, type)

  const create = () => {
    if (created) return ''
    created = true
    return (
      event('response.created', { response: shape.begun() }) +
      event('response.in_progress', { response: shape.begun() })
    )
  }
  const changed = (changes: readonly ItemChange[], status: string, scored: readonly TokenLogprob[]) =>
    changes.map((change) => changeEvents(event, change, status, change.type === 'delta' ? scored : [])).join('')
  /** Writes the news of one event of the answer. */
  const write = ({ parts: news, tokens }: News) => {
    const scored = logprob ? tokens.map(({ token }) => logprob(token)) : []
    const made = news.flatMap((part) => items.add(part, answer.parts.calls))
    const opens = made.length === 0 && scored.length > 0 && items.all.length === 0
    const changes = opens ? items.openMessage() : made
    const delta = changes.find(({ type, item }) => type === 'delta' && item.type === 'message')
    const message = items.all.findLast(({ type }) => type === 'message')
    if (message?.type === 'message') for (const one of scored) message.logprobs.push(one)
    const extra =
      !delta && scored.length > 0 && message
        ? changed([{ type: 'delta', index: items.all.indexOf(message), item: message, text: '' }], '', scored)
        : ''
    return changed(changes, 'completed', delta ? scored : []) + extra
  }
  const close = (done: DoneEvent) => {
    const status = shape.statusOf(done)
    const opened = items.all.length === 0 ? changed(items.openMessage(), status, []) : ''
    const closed = changed(items.close(), status, [])
    const corrected = answer.corrected(done)
    const correction = corrected ? event('foretoken.correction', corrected) : ''
    const whole = corrected ? itemsOf(answer, logprob) : items.all
    const response = shape.finished(done, whole, answer.parts)
    return opened + closed + correction + event(`response.${status}`, { response })
  }

  return {
    frame(one: ChoiceEvent): string {
      if (one.type === 'progress') return create() + event('foretoken.progress', { done: one.done, total: one.total })
      const news = answer.push(one)
      // What a client was shown can't be called back: the correction comes whole, at the end.
      const written = answer.correction ? '' : write(news)
      return create() + written + (one.type === 'done' ? close(one.done) : '')
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

/** Returns the items of a whole answer. */
export function itemsOf({ parts, tokens }: Pick<Answered, 'parts' | 'tokens'>, logprob: Parts['logprob']) {
  const items = new ResponseItems()
  for (const part of parts.all) items.add(part, parts.calls)
  if (items.all.length === 0) items.openMessage()
  const message = items.all.findLast(({ type }) => type === 'message')
  if (logprob && message?.type === 'message') for (const { token } of tokens) message.logprobs.push(logprob(token))
  return items.all
}

type Write = (type: string, data: object) => string

/** Returns the events of a change. `status` is the item's when it closes. */
function changeEvents(
  event: Write,
  { type, index: output_index, item, text }: ItemChange,
  status: string,
  logprobs: readonly TokenLogprob[],
): string {
  const added = () => event('response.output_item.added', { output_index, item: itemBody(item, 'in_progress') })
  const done = () => event('response.output_item.done', { output_index, item: itemBody(item, status) })
  const place = { item_id: item.id, output_index }
  const inside = { ...place, content_index: 0 }
  if (item.type === 'function_call') {
    if (type === 'open') return added()
    if (type === 'delta') return event('response.function_call_arguments.delta', { ...place, delta: text })
    return event('response.function_call_arguments.done', { ...place, name: item.name, arguments: item.text }) + done()
  }
  const isText = item.type === 'message'
  const kind = isText ? 'output_text' : 'reasoning_text'
  const part = (whole: string) => (isText ? textPart(whole, item.logprobs) : reasoningPart(whole))
  if (type === 'open') return added() + event('response.content_part.added', { ...inside, part: part('') })
  if (type === 'delta') return event(`response.${kind}.delta`, { ...inside, delta: text, ...(isText && { logprobs }) })
  return (
    event(`response.${kind}.done`, { ...inside, text: item.text, ...(isText && { logprobs: item.logprobs }) }) +
    event('response.content_part.done', { ...inside, part: part(item.text) }) +
    done()
  )
}
