/** Writes an answer as Ollama does: one object, or a line of JSON for each token. */
import { type DoneEvent, ForetokenError } from '../../src/index.ts'
import { collect } from '../endpoints/collect.ts'
import type { Options } from '../endpoints/options.ts'
import { endsTurn, tokenLogprob } from '../endpoints/tokens.ts'
import { type VisibleToken, VisibleTokens } from '../endpoints/visible.ts'
import type { Plan, PlanContext } from '../exchange.ts'
import { reportOf } from '../usage.ts'
import type { Summary } from './schemas.ts'

interface LineParts {
  /** The model as the request names it. */
  readonly model: string
  readonly logprobs: boolean
  readonly options: Options
  /** Returns the field that holds a text: a message, or the text itself. */
  field(text: string): object
}

/** Returns what writes an answer. */
export function answerLines(
  { model, logprobs, options, field }: LineParts,
  { engine, loadMs }: PlanContext,
): Pick<Plan, 'format' | 'body' | 'frame' | 'failed'> {
  const isEnd = endsTurn(engine, options)
  const visible = new VisibleTokens({ engine, isEnd })
  const scored = (tokens: readonly VisibleToken[]) =>
    logprobs && tokens.length > 0 ? { logprobs: tokens.map(({ token }) => tokenLogprob(engine, token)) } : {}
  const line = (text: string, more: object = {}) =>
    `${JSON.stringify({ ...headOf(model), ...field(text), done: false, ...more })}\n`
  return {
    // A comment is not possible in JSON, but a line without text is.
    format: { contentType: 'application/x-ndjson', keepAlive: line('') },
    async body(events) {
      const [answer] = await collect(events, { engine, isEnd })
      if (!answer) throw new ForetokenError('internal', 'there is no answer')
      const { done, tokens } = answer
      return { ...summaryOf(model, done, loadMs), ...field(done.text), ...scored(tokens) }
    },
    frame(event) {
      if (event.type === 'progress')
        return line('', { foretoken: { progress: { done: event.done, total: event.total } } })
      const tokens = event.type === 'token' ? visible.push(event.token) : visible.finish()
      const text = event.type === 'token' ? event.token.text : ''
      const shown = text !== '' || (logprobs && tokens.length > 0) ? line(text, scored(tokens)) : ''
      if (event.type === 'token') return shown
      return `${shown}${JSON.stringify({ ...summaryOf(model, event.done, loadMs), ...field('') })}\n`
    },
    failed: ({ message }) => `${JSON.stringify({ error: message })}\n`,
  }
}

/** Returns the answer to a request that only loads the model. */
export function loaded(model: string, loadMs: number, keepAlive: unknown): Summary {
  return {
    ...headOf(model),
    done: true,
    done_reason: keepAlive === 0 ? 'unload' : 'load',
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
