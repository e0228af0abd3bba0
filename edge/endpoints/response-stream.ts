/**
 * Writes a response as events: created; each item opened, its deltas, and closed; completed. Items
 * are thoughts, messages and calls.
 */
import type { DoneEvent, TokenEvent } from '../../src/index.ts'
import type { ChoiceEvent } from '../choices.ts'
import type { ApiError } from '../errors.ts'
import { frame } from '../sse.ts'
import type { Answered, News, ReadAnswer } from './collect.ts'
import { MessageTokens } from './message-tokens.ts'
import {
  type ItemChange,
  type ItemStatus,
  itemBody,
  type ResponseItem,
  ResponseItems,
  reasoningPart,
  statusOf,
  textPart,
} from './response-items.ts'
import type { ResponseShape } from './response-shape.ts'
import type { TokenLogprob } from './tokens.ts'
import type { VisibleToken } from './visible.ts'

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
  const tokens = new MessageTokens(answer.parts)
  /** Adds scores to a message, and returns them. */
  const scoresOf = (item: ResponseItem | undefined, shown: readonly VisibleToken[]) => {
    if (!logprob || item?.type !== 'message') return []
    const scores = shown.map(({ token }) => logprob(token))
    for (const score of scores) item.logprobs.push(score)
    return scores
  }
  const changed = (changes: readonly ItemChange[], status: ItemStatus, scores: readonly TokenLogprob[] = []) =>
    changes.map((change) => changeEvents(event, change, status, change.type === 'delta' ? scores : [])).join('')
  /** Writes the news of one event of the answer. */
  const write = ({ parts: news, tokens: shown }: News) => {
    tokens.add(shown)
    return news
      .map((part) => {
        const changes = items.add(part, answer.parts.calls)
        return changed(changes, 'completed', scoresOf(items.all.at(-1), tokens.take(part)))
      })
      .join('')
  }
  /** Writes the scores of tokens that show no text of their own. */
  const writeRest = () => {
    const rest = logprob ? tokens.rest() : []
    if (rest.length === 0) return ''
    const opened = items.all.length === 0 ? items.openMessage() : []
    const item = items.all.findLast(({ type }) => type === 'message')
    const scores = scoresOf(item, rest)
    if (!item || items.all.at(-1) !== item || !items.isOpen) return changed(opened, 'completed')
    const delta = { type: 'delta', index: items.all.length - 1, item, text: '' } as const
    return changed(opened, 'completed') + changed([delta], 'completed', scores)
  }
  const close = (done: DoneEvent) => {
    const corrected = answer.corrected(done)
    const rest = corrected ? '' : writeRest()
    const whole = corrected ? itemsOf(answer, logprob) : items.all
    const status = shape.statusOf(done, whole)
    const opened = items.all.length === 0 ? changed(items.openMessage(), status) : ''
    const closed = changed(items.close(), status)
    const correction = corrected ? event('foretoken.correction', corrected) : ''
    const response = shape.finished(done, corrected ? whole : items.all, answer.parts)
    return rest + opened + closed + correction + event(`response.${status}`, { response })
  }

  return {
    frame(one: ChoiceEvent): string {
      if (one.type === 'progress') return create() + event('foretoken.progress', { done: one.done, total: one.total })
      const begun = create()
      const news = answer.push(one)
      // What a client was shown can't be called back: the correction comes whole, at the end.
      const written = answer.correction ? '' : write(news)
      return begun + written + (one.type === 'done' ? close(one.done) : '')
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
function itemsOf({ parts, tokens }: Pick<Answered, 'parts' | 'tokens'>, logprob: Parts['logprob']) {
  const items = new ResponseItems()
  const shown = new MessageTokens(parts)
  shown.add(tokens)
  const score = (item: ResponseItem | undefined, scores: readonly VisibleToken[]) => {
    if (logprob && item?.type === 'message') for (const { token } of scores) item.logprobs.push(logprob(token))
  }
  for (const part of parts.all) {
    items.add(part, parts.calls)
    score(items.all.at(-1), shown.take(part))
  }
  if (items.all.length === 0) items.openMessage()
  score(
    items.all.findLast(({ type }) => type === 'message'),
    shown.rest(),
  )
  return items.all
}

type Write = (type: string, data: object) => string

/** Returns the events of a change. `status` is the item's when it closes. */
function changeEvents(
  event: Write,
  { type, index: output_index, item, text }: ItemChange,
  status: ItemStatus,
  logprobs: readonly TokenLogprob[],
): string {
  const added = () => event('response.output_item.added', { output_index, item: itemBody(item, 'in_progress') })
  const done = () => event('response.output_item.done', { output_index, item: itemBody(item, statusOf(item, status)) })
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
