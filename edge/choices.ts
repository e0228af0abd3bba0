/**
 * Generates the answers of one HTTP request together. Every choice is an answer of the service;
 * this class is the only reader of all of them.
 *
 * Among several choices of one prompt the first is submitted ahead: once its prompt has been read,
 * the others find it in the prefix cache.
 */
import {
  type Answer,
  type CorrectionEvent,
  type DoneEvent,
  ForetokenError,
  type GenerateEvent,
  type GenerateRequest,
  nextSeed,
  type RouteReport,
  type TextService,
  type TokenEvent,
} from '../src/index.ts'

export type ChoiceEvent =
  /** `done` of `total` prompt tokens have been read. */
  | { readonly type: 'progress'; readonly index: number; readonly done: number; readonly total: number }
  | { readonly type: 'token'; readonly index: number; readonly token: TokenEvent }
  /** Tokens that were handed out are void; those that follow replace them. */
  | { readonly type: 'correction'; readonly index: number; readonly correction: CorrectionEvent }
  | { readonly type: 'done'; readonly index: number; readonly done: DoneEvent }

/** The part of a service that generates answers. */
export type Answering = Pick<TextService, 'prepare' | 'submit' | 'keepChunks'>

export interface ChoiceOptions {
  /** Aborted when the answers are no longer wanted. */
  readonly signal: AbortSignal
  /** Whether progress events are emitted. */
  readonly progress: boolean
  /** Number of choices for each prompt. They differ in their seed, if the request has one. */
  readonly choices: number
  /** Maximum number of tokens in a prompt; undefined if only the context limits it. */
  readonly promptTokens: number | undefined
  /** Called with each event before it is handed out. */
  readonly onEvent: (event: ChoiceEvent, choices: Choices) => void
}

interface Reading {
  readonly index: number
  readonly events: AsyncIterator<GenerateEvent>
  next?: Promise<Arrival>
}

interface Arrival {
  readonly reading: Reading
  readonly result: IteratorResult<GenerateEvent>
}

export class Choices implements AsyncIterableIterator<ChoiceEvent, undefined> {
  readonly #service: Answering
  readonly #requests: readonly GenerateRequest[]
  readonly #options: ChoiceOptions
  /** Answers whose last event has not been handed out. */
  readonly #readings = new Set<Reading>()
  /** The answers, by index. */
  readonly #answers = new Map<number, Answer>()
  /** Indices of the prompts that have been read: their other choices are submitted. */
  readonly #read = new Set<number>()
  readonly #progress: ChoiceEvent[] = []
  #wake = Promise.withResolvers<undefined>()

  /**
   * Tokenizes each prompt, once for all of its choices, and submits. Rejects with what `prepare`
   * and the constructor throw.
   */
  static async begin(
    service: Answering,
    requests: readonly GenerateRequest[],
    options: ChoiceOptions,
  ): Promise<Choices> {
    const prepared: GenerateRequest[] = []
    for (const request of requests) {
      const prompt = await service.prepare(request.prompt, { ...request, signal: options.signal })
      prepared.push({ ...request, prompt })
    }
    return new Choices(service, prepared, options)
  }

  /**
   * Submits the first choice of each prompt. Throws what `submit` throws, and `context_exceeded`;
   * after that nothing is left submitted.
   */
  constructor(service: Answering, requests: readonly GenerateRequest[], options: ChoiceOptions) {
    this.#service = service
    this.#requests = requests
    this.#options = options
    try {
      for (const [prompt, request] of requests.entries()) this.#submit(request, prompt, 0)
    } catch (error) {
      this.cancel()
      throw error
    }
  }

  /** How the prompt of the first answer has been read so far. */
  get soFar(): Answer['soFar'] {
    const first = this.#answers.get(0)
    if (!first) throw new ForetokenError('internal', 'there is no answer')
    return first.soFar
  }

  /** Returns the route of an answer; undefined if there was only one. */
  routeOf(index: number): RouteReport | undefined {
    return this.#answers.get(index)?.route
  }

  /** Ends every answer. May be called twice. */
  cancel(): void {
    for (const answer of this.#answers.values()) answer.cancel()
  }

  /**
   * Returns the next event. An answer computes nothing until its events are asked for. Rejects if
   * any answer fails; the others are cancelled then.
   */
  async next(): Promise<IteratorResult<ChoiceEvent, undefined>> {
    try {
      for (;;) {
        const value = this.#progress.shift() ?? (await this.#nextOfAnswers())
        if (value === 'woken') continue
        if (value === undefined) return this.return()
        this.#options.onEvent(value, this)
        return { done: false, value }
      }
    } catch (error) {
      this.cancel()
      throw error
    }
  }

  async return(): Promise<IteratorResult<ChoiceEvent, undefined>> {
    this.cancel()
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /**
   * Waits for an event of any answer; `woken` if something else may be next. Resolves with
   * undefined when all answers are complete.
   */
  async #nextOfAnswers(): Promise<ChoiceEvent | 'woken' | undefined> {
    if (this.#readings.size === 0) return undefined
    const arrived = await this.#arrival()
    // Progress is reported before the event that it led to, which stays pending.
    if (!arrived || this.#progress.length > 0) return 'woken'
    const { reading, result } = arrived
    // An answer that ends without `done` was cancelled, and must not look complete.
    if (result.done) throw new ForetokenError('aborted', 'the request was cancelled before its answer was complete')
    delete reading.next
    const { index } = reading
    const { value } = result
    if (value.type === 'prompt') return 'woken'
    this.#submitRest(index)
    if (value.type === 'token') return { type: 'token', index, token: value }
    if (value.type === 'correction') return { type: 'correction', index, correction: value }
    this.#readings.delete(reading)
    return { type: 'done', index, done: value }
  }

  async #arrival(): Promise<Arrival | undefined> {
    const arrivals: Promise<Arrival | undefined>[] = []
    for (const reading of this.#readings) {
      reading.next ??= read(reading)
      arrivals.push(reading.next)
    }
    const [only] = arrivals
    if (arrivals.length === 1 && only && !this.#options.progress) return only
    const arrived = await Promise.race([...arrivals, this.#wake.promise])
    if (!arrived) this.#wake = Promise.withResolvers<undefined>()
    return arrived
  }

  /** Submits the other choices of a prompt whose first choice has a token. */
  #submitRest(index: number): void {
    const { choices } = this.#options
    const prompt = Math.floor(index / choices)
    const request = this.#requests[prompt]
    if (!request || this.#read.has(prompt)) return
    this.#read.add(prompt)
    for (let choice = 1; choice < choices; choice++) this.#submit(request, prompt, choice)
  }

  #submit(request: GenerateRequest, prompt: number, choice: number): void {
    const { choices, signal, progress, promptTokens } = this.#options
    const index = prompt * choices + choice
    const answer = this.#service.submit({
      ...request,
      signal,
      ...(request.seed !== undefined && { seed: nextSeed(request.seed, choice) }),
      ...(progress && {
        onPrefill: (done: number, total: number) => {
          this.#progress.push({ type: 'progress', index, done, total })
          this.#wake.resolve(undefined)
        },
      }),
    })
    this.#answers.set(index, answer)
    const { prompt_tokens } = answer.soFar.timings
    if (promptTokens !== undefined && prompt_tokens > promptTokens)
      throw new ForetokenError(
        'context_exceeded',
        `the prompt has ${prompt_tokens} tokens, but this server accepts at most ${promptTokens}; shorten it`,
      )
    this.#readings.add({ index, events: answer[Symbol.asyncIterator]() })
  }
}

function read(reading: Reading): Promise<Arrival> {
  const next = reading.events.next().then((result) => ({ reading, result }))
  // Nothing awaits this promise once the request has ended.
  next.catch(() => {})
  return next
}
