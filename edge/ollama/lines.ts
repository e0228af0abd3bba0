/** Writes an answer as Ollama does: one object, or a line of JSON for each token. */
import { type AnswerPlan, type DoneEvent, ForetokenError } from '../../src/index.ts'
import { collect, ReadAnswer } from '../endpoints/collect.ts'
import type { Options } from '../endpoints/options.ts'
import { type AnsweredCall, type AnswerParts, objectOf } from '../endpoints/parts.ts'
import { endsTurn, tokenLogprob } from '../endpoints/tokens.ts'
import type { VisibleToken } from '../endpoints/visible.ts'
import type { Plan, PlanContext } from '../exchange.ts'
import { inTurns } from '../json.ts'
import { reportOf } from '../usage.ts'

import type { AnsweredToolCall, Summary } from './schemas.ts'

/** What an answer, or a line of it, says. */
export interface Said {
  readonly content: string
  readonly thinking?: string
  readonly tool_calls?: readonly AnsweredToolCall[]
}

interface LineParts {
  /** The model as the request names it. */
  readonly model: string
  readonly logprobs: boolean
  readonly options: Options
  /** Undefined for a raw text, which has no parts. */
  readonly plan?: AnswerPlan | undefined
  /** Returns the fields that hold what is said: a message, or the text itself. */
  field(said: Said): object
}

/** Returns what writes an answer. */
export function answerLines(
  { model, logprobs, options, plan, field }: LineParts,
  { engine, loadMs }: PlanContext,
): Pick<Plan, 'format' | 'body' | 'frame' | 'failed'> {
  const isEnd = endsTurn(engine, options)
  const reading = { engine, isEnd, shown: options.showSpecial, corrects: options.verify, ...plan }
  const read = new ReadAnswer(reading)
  const scored = (tokens: readonly VisibleToken[]) =>
    logprobs && tokens.length > 0 ? { logprobs: tokens.map(({ token }) => tokenLogprob(engine, token)) } : {}
  const line = (said: Said, more: object = {}) =>
    `${JSON.stringify({ ...headOf(model), ...field(said), done: false, ...more })}\n`
  return {
    // A comment is not possible in JSON, but a line without text is.
    format: { contentType: 'application/x-ndjson', keepAlive: line(silence) },
    async body(events) {
      const [answer] = await collect(events, reading)
      if (!answer) throw new ForetokenError('internal', 'there is no answer')
      const { done, tokens, parts } = answer
      const scores = logprobs && (await inTurns(tokens, ({ token }) => tokenLogprob(engine, token)))
      return {
        ...summaryOf(model, done, loadMs),
        ...field(saidBy(parts)),
        ...(scores && scores.length > 0 && { logprobs: scores }),
      }
    },
    frame(event) {
      if (event.type === 'progress')
        return line(silence, { foretoken: { progress: { done: event.done, total: event.total } } })
      const { parts: news, tokens } = read.push(event)
      const lines: Said[] = []
      // What a client was shown can't be called back: the correction comes whole, at the end.
      for (const part of read.correction ? [] : news)
        if (part.type === 'content') lines.push({ content: part.text })
        else if (part.type === 'reasoning') lines.push({ content: '', thinking: part.text })
        else if (part.type === 'end') {
          const call = read.parts.calls[part.index]
          const tool_calls = call ? toolCallsOf(call, part.index) : []
          if (tool_calls.length > 0) lines.push({ content: '', tool_calls })
        }
      if (lines.length === 0 && logprobs && tokens.length > 0 && !read.correction) lines.push(silence)
      const text = lines.map((said, at) => line(said, at === 0 ? scored(tokens) : {})).join('')
      if (event.type !== 'done') return text
      const corrected = read.corrected(event.done)
      const correction = corrected
        ? line(silence, { foretoken: { correction: { ...corrected, ...field(saidBy(read.parts)) } } })
        : ''
      return `${text}${correction}${JSON.stringify({ ...summaryOf(model, event.done, loadMs), ...field(silence) })}\n`
    },
    failed: ({ message }) => `${JSON.stringify({ error: message })}\n`,
  }
}

const silence: Said = { content: '' }

/** Returns what a whole answer says. */
function saidBy({ content, reasoning, calls }: AnswerParts): Said {
  const whole = calls.flatMap(toolCallsOf)
  return {
    content,
    ...(reasoning !== '' && { thinking: reasoning }),
    ...(whole.length > 0 && { tool_calls: whole }),
  }
}

/** Returns a call as Ollama has it; none if its arguments are not whole, since it must not be run. */
function toolCallsOf({ id, name, arguments: text }: AnsweredCall, index: number): AnsweredToolCall[] {
  const given = objectOf(text)
  return given ? [{ id, function: { index, name, arguments: given } }] : []
}

/** Returns the answer to a request that only loads the model, or unloads it. */
export function withoutText(model: string, done_reason: 'load' | 'unload', loadMs: number): Summary {
  return {
    ...headOf(model),
    done: true,
    done_reason,
    total_duration: nanoseconds(loadMs),
    load_duration: nanoseconds(loadMs),
    prompt_eval_count: 0,
    prompt_eval_duration: 0,
    eval_count: 0,
    eval_duration: 0,
  }
}

function headOf(model: string) {
  return { model, created_at: new Date().toISOString() }
}

function summaryOf(model: string, done: DoneEvent, loadMs: number): Summary {
  const { timings, ids } = done
  const { decode_tokens_per_s: rate, ttft_ms, sample_ms, prefill_ms, prompt_tokens } = timings
  const decodeMs = rate > 0 ? ((ids.length - 1) * 1000) / rate : 0
  return {
    ...headOf(model),
    done: true,
    done_reason: done.finishReason === 'stop' ? 'stop' : 'length',
    total_duration: nanoseconds(loadMs + ttft_ms + decodeMs),
    load_duration: nanoseconds(loadMs),
    prompt_eval_count: prompt_tokens,
    prompt_eval_duration: nanoseconds(prefill_ms),
    eval_count: ids.length,
    eval_duration: nanoseconds(sample_ms + decodeMs),
    foretoken: reportOf(done),
  }
}

function nanoseconds(ms: number): number {
  return Math.round(ms * 1e6)
}
