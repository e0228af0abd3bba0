/** Answers `POST /v1/completions`. */
import type { DoneEvent, TextService, TokenEvent } from '../../src/index.ts'
import type { ChoiceEvent } from '../choices.ts'
import { ApiError } from '../errors.ts'
import type { Endpoint, Plan } from '../exchange.ts'
import { fillInTheMiddle } from '../fill-in-the-middle.ts'
import { newId } from '../ids.ts'
import { inTurns } from '../json.ts'
import { type CompletionRequest, completionEntries, completionRequest } from '../schemas/completions.ts'
import { inputsOf, requireIds } from '../schemas/inputs.ts'
import { frame, done as last } from '../sse.ts'
import { reportOf, usageOf } from '../usage.ts'
import { collect, finishReason, ReadAnswer, type Reading } from './collect.ts'
import { optionsOf } from './options.ts'
import { endsTurn, scoredText } from './tokens.ts'
import type { VisibleToken } from './visible.ts'

type Prompt = string | readonly number[]

export const completions: Endpoint<typeof completionRequest> = {
  form: 'completion',
  schema: completionRequest,
  entries: () => completionEntries,
  plan(body, { engine, config, model, created }): Plan {
    const choices = body.n ?? 1
    requireIds('prompt', body.prompt, engine.archive.config.vocab)
    const prompts = inputsOf(body.prompt)
    const head = { id: newId('cmpl'), object: 'text_completion', created, model }
    const scored = body.logprobs !== null && body.logprobs !== undefined
    if (body.echo && scored)
      throw new ApiError(400, 'echo with logprobs is not supported; ask for one of them', {
        code: 'unsupported_value',
        param: 'echo',
      })
    const options = {
      ...optionsOf(body, engine, config, body.max_tokens ?? 16),
      ...(body.logprobs && { topLogprobs: body.logprobs }),
    }
    const reading = { engine, isEnd: endsTurn(engine, options), corrects: options.verify }
    const raw = {
      raw: true,
      ...(typeof body.parse_special === 'boolean' && { parseSpecial: body.parse_special }),
      ...(typeof body.add_special_tokens === 'boolean' && { addSpecial: body.add_special_tokens }),
    }
    const echo = (index: number) => {
      const prompt = prompts[Math.floor(index / choices)]
      return body.echo && prompt !== undefined ? textOf(prompt, engine) : ''
    }
    return {
      requests: prompts.map((prompt) => ({ ...options, ...raw, prompt: gapped(prompt, body, engine) })),
      choices,
      stream: body.stream ?? false,
      progress: (body.stream && body.foretoken?.progress) ?? false,
      async body(events) {
        const answers = await collect(events, reading)
        const list: object[] = []
        for (const [index, { done, tokens }] of answers.entries()) {
          const scores = scored ? await inTurns(tokens, ({ token }) => scoresOf(engine, token)) : null
          const logprobs = scores && logprobsOf(scores, tokens)
          list.push({ index, text: echo(index) + done.text, logprobs, finish_reason: finishReason(done) })
        }
        return {
          ...head,
          choices: list,
          usage: usageOf(
            answers.map(({ done }) => done),
            choices,
          ),
        }
      },
      frame: framesOf(body, head, { answers: prompts.length * choices, echo, scored, reading }),
      failed: (error) => frame(error.body),
    }
  },
}

interface StreamParts {
  /** Number of answers. */
  readonly answers: number
  /** Returns the prompt that comes before an answer; '' if it is not echoed. */
  echo(index: number): string
  readonly scored: boolean
  readonly reading: Reading
}

/** Returns what writes the chunks of a stream: a function that is called with each event. */
function framesOf(body: CompletionRequest, head: object, parts: StreamParts): Plan['frame'] {
  const { echo, scored, reading } = parts
  const { engine } = reading
  const usage = body.stream_options?.include_usage ?? false
  const noUsage = usage ? { usage: null } : {}
  const answers: ReadAnswer[] = []
  const dones: DoneEvent[] = []
  let complete = 0
  const chunk = (index: number, text: string, more: object = {}, report: object = {}) => {
    const choice = { index, text, logprobs: null, finish_reason: null, ...more }
    return frame({ ...head, choices: [choice], ...noUsage, ...report })
  }
  const correct = (index: number, done: DoneEvent, answer: ReadAnswer) => {
    const corrected = answer.corrected(done)
    if (!corrected) return ''
    const scores = answer.tokens.map(({ token }) => scoresOf(engine, token))
    const logprobs = scored && { logprobs: logprobsOf(scores, answer.tokens) }
    return frame({ ...head, choices: [], ...noUsage, foretoken: { correction: { index, ...corrected, ...logprobs } } })
  }
  const finish = (index: number, done: DoneEvent, answer: ReadAnswer) => {
    dones[index] = done
    const closing = chunk(index, '', { finish_reason: finishReason(done) }, { foretoken: reportOf(done) })
    const text = correct(index, done, answer) + closing
    if (++complete < parts.answers) return text
    return text + (usage ? frame({ ...head, choices: [], usage: usageOf(dones, body.n ?? 1) }) : '') + last
  }
  return (event: ChoiceEvent) => {
    const { index } = event
    if (event.type === 'progress') {
      const progress = { index, done: event.done, total: event.total }
      return frame({ ...head, choices: [], ...noUsage, foretoken: { progress } })
    }
    let text = !answers[index] && body.echo ? chunk(index, echo(index)) : ''
    const answer = (answers[index] ??= new ReadAnswer(reading))
    const { tokens } = answer.push(event)
    // What a client was shown can't be called back: the correction comes whole, at the end.
    if (answer.correction) return event.type === 'done' ? finish(index, event.done, answer) : ''
    const shown = event.type === 'token' ? event.token.text : ''
    const logprobs =
      scored && tokens.length > 0
        ? {
            logprobs: logprobsOf(
              tokens.map(({ token }) => scoresOf(engine, token)),
              tokens,
            ),
          }
        : undefined
    if (shown !== '' || logprobs) text += chunk(index, shown, logprobs)
    return event.type === 'done' ? text + finish(index, event.done, answer) : text
  }
}

/**
 * Returns a prompt that also tells what follows the answer, if the body has a suffix. Throws an
 * ApiError of 400.
 */
function gapped(prompt: Prompt, { suffix, parse_special }: CompletionRequest, engine: TextService): Prompt {
  if (!suffix) return prompt
  if (typeof prompt === 'string' && parse_special !== false) return fillInTheMiddle(prompt, suffix, engine)
  throw new ApiError(400, 'suffix needs a prompt of text, in which special tokens are read', {
    code: 'unsupported_value',
    param: 'suffix',
  })
}

function textOf(prompt: Prompt, { tokenizer }: TextService): string {
  return typeof prompt === 'string' ? prompt : tokenizer.decode(prompt)
}

/** Returns a token, and its alternatives by their text; undefined if none were asked for. */
function scoresOf(engine: TextService, token: TokenEvent) {
  const top = token.topLogprobs?.map((other) => scoredText(engine, other))
  return {
    ...scoredText(engine, token),
    top: top && Object.fromEntries(top.map(({ token, logprob }) => [token, logprob] as const)),
  }
}

/**
 * Returns log-probabilities in the older form: parallel lists. Offsets are in the answer's own
 * text, in UTF-16 units.
 */
function logprobsOf(scores: readonly ReturnType<typeof scoresOf>[], tokens: readonly VisibleToken[]) {
  return {
    tokens: scores.map(({ token }) => token),
    token_logprobs: scores.map(({ logprob }) => logprob),
    top_logprobs: scores.every(({ top }) => top !== undefined) ? scores.map(({ top }) => top) : null,
    text_offset: tokens.map(({ offset }) => offset),
  }
}
