/**
 * The answers of one HTTP request, made together: every choice is a submission to the engine, and this is their one reader.
 *
 * Of choices with one prompt the first goes ahead: once its prompt is read the others find it in the prefix cache.
 */
import {
  type AnyEngine,
  type DoneEvent,
  ForetokenError,
  type GenerateEvent,
  type GenerateRequest,
  nextSeed,
  type RouteReport,
  type Submission,
  type TokenEvent,
} from '../src/index.ts'

export type RunEvent =
  /** Prompt tokens read, and in all. */
  | { readonly type: 'progress'; readonly index: number; readonly done: number; readonly total: number }
  | { readonly type: 'token'; readonly index: number; readonly token: TokenEvent }
  | { readonly type: 'done'; readonly index: number; readonly done: DoneEvent }

/** Takes requests on: the engine, or what decides which engine reads their prompts. */
export interface Answering extends Pick<AnyEngine, 'prepare'> {
  submit(request: GenerateRequest): Answers
}

export interface Answers extends AsyncIterable<GenerateEvent>, Pick<Submission, 'soFar' | 'cancel'> {
  /** Where ways were to choose from: the one that was taken. */
  readonly route?: RouteReport
}

export interface RunOptions {
  /** Aborted when nobody wants the answers any more. */
  readonly signal: AbortSignal
  /** Whether progress is told. */
  readonly progress: boolean
  /** Choices of each prompt; they differ in their seed, where there is one. */
  readonly choices: number
  /** The longest prompt; the context, where there is no such limit. */
  readonly promptTokens: number | undefined
}

interface Reading {
  readonly index: number
  readonly events: AsyncIterator<GenerateEvent>
  next?: Promise<{ readonly reading: Reading; readonly result: IteratorResult<GenerateEvent> }>
}

export class Run implements AsyncIterable<RunEvent> {
  readonly #answering: Answering
  readonly #requests: readonly GenerateRequest[]
  readonly #options: RunOptions
  readonly #readings = new Set<Reading>()
  /** By their index. */
  readonly #submissions = new Map<number, Answers>()
  /** Prompts that have been read, and their other choices submitted. */
  readonly #begun = new Set<number>()
  readonly #progress: RunEvent[] = []
  #wake = Promise.withResolvers<undefined>()

  /** Makes token ids of each prompt, once for all of its choices, and submits. Rejects with what `prepare` and the constructor throw. */
  static async begin(answering: Answering, requests: readonly GenerateRequest[], options: RunOptions): Promise<Run> {
    const prepared: GenerateRequest[] = []
    for (const request of requests) {
      const prompt = await answering.prepare(request.prompt, { ...request, signal: options.signal })
      prepared.push({ ...request, prompt })
    }
    return new Run(answering, prepared, options)
  }

  /** Submits. Throws what `submit` throws, and `context_exceeded`; nothing is left of it then. */
  constructor(answering: Answering, requests: readonly GenerateRequest[], options: RunOptions) {
    this.#answering = answering
    this.#requests = requests
    this.#options = options
    try {
      for (let prompt = 0; prompt < requests.length; prompt++) this.#submit(prompt, 0)
    } catch (error) {
      this.cancel()
      throw error
    }
  }

  /** The first answer so far: how its prompt was read. */
  get soFar(): Answers['soFar'] {
    return this.#submissions.get(0)!.soFar
  }

  /** The way of an answer. */
  routeOf(index: number): RouteReport | undefined {
    return this.#submissions.get(index)?.route
  }

  /** Ends every answer, be it read or not. */
  cancel(): void {
    for (const submission of this.#submissions.values()) submission.cancel()
    // One that stands at an event which nobody will fetch holds what it has until it is told.
    for (const { events } of this.#readings) void events.return?.().catch(() => {})
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<RunEvent> {
    try {
      while (this.#readings.size > 0) {
        const came = await this.#next()
        while (this.#progress.length > 0) yield this.#progress.shift()!
        if (!came) continue
        const { reading, result } = came
        // Nobody reads behind `done`: an answer that ends without it was cancelled, and must not look whole.
        if (result.done) throw new ForetokenError('aborted', 'the request was cancelled before its answer was complete')
        const told = this.#told(reading.index, result.value)
        if (told) yield told
        if (told?.type === 'done') this.#readings.delete(reading)
        else reading.next = read(reading)
      }
    } finally {
      this.cancel()
    }
  }

  async #next() {
    const next = [...this.#readings].map((reading) => reading.next!)
    if (next.length === 1 && !this.#options.progress) return next[0]!
    const came = await Promise.race([...next, this.#wake.promise])
    if (!came) this.#wake = Promise.withResolvers<undefined>()
    return came
  }

  #told(index: number, event: GenerateEvent): RunEvent | undefined {
    const { choices } = this.#options
    if (event.type === 'prompt') return undefined
    if (index % choices === 0) this.#submitRest(index / choices)
    return event.type === 'token' ? { type: 'token', index, token: event } : { type: 'done', index, done: event }
  }

  #submitRest(prompt: number): void {
    const { choices } = this.#options
    if (this.#begun.has(prompt)) return
    this.#begun.add(prompt)
    for (let choice = 1; choice < choices; choice++) this.#submit(prompt, choice)
  }

  #submit(prompt: number, choice: number): void {
    const { choices, signal, progress, promptTokens } = this.#options
    const index = prompt * choices + choice
    const request = this.#requests[prompt]!
    const submission = this.#answering.submit({
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
    this.#submissions.set(index, submission)
    const { prompt_tokens } = submission.soFar.timings
    if (promptTokens !== undefined && prompt_tokens > promptTokens)
      throw new ForetokenError(
        'context_exceeded',
        `the prompt has ${prompt_tokens} tokens, and this server takes ${promptTokens}; shorten it`,
      )
    const events = submission[Symbol.asyncIterator]()
    const reading: Reading = { index, events }
    reading.next = read(reading)
    this.#readings.add(reading)
  }
}

function read(reading: Reading): NonNullable<Reading['next']> {
  const next = reading.events.next().then((result) => ({ reading, result }))
  // Whoever leaves early leaves this unread.
  next.catch(() => {})
  return next
}
