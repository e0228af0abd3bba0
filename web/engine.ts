/** The page's side of the engine's worker: its messages as promises and events. */
import { built } from './built.ts'
import { PageError } from './page-error.ts'
import type { AnswerFigures, Device, FromEngine, ModelSource, PackFigures, Question, ToEngine } from './protocol.ts'

export type Ready = Extract<FromEngine, { type: 'ready' }>
export type Progress = Extract<FromEngine, { type: 'progress' }>

/** The device and threads that the engine runs on. */
export interface Where {
  readonly device: Device
  readonly threads: number
}

/** Called with the parts of an answer, in order. */
export interface AnswerEvents {
  /** `exact` is false for text from a predicted cache. */
  onText(text: string, exact: boolean): void
  /** The text of the answer, which replaces what was shown of it; its calls are void. */
  onCorrection(text: string): void
  /** A call begins; calls are numbered from 0. */
  onCall(index: number, name: string): void
  /** More of a call's arguments, as JSON text. */
  onArguments(index: number, text: string): void
}

type Listener = (message: FromEngine) => void

export class TabEngine {
  readonly #base: string
  #worker: Worker
  readonly #waiting = new Map<number, Listener>()
  /** The failure that ended the worker. */
  #lost: FromEngine | undefined
  #next = 1
  /** Called when no model is in memory any more; `failure` says why, if nobody asked for it. */
  onUnloaded: (failure?: string) => void = () => {}

  constructor(base: string) {
    this.#base = base
    this.#worker = this.#started()
  }

  #started(): Worker {
    const worker = new Worker(built('engine', this.#base), { type: 'module' })
    worker.addEventListener('message', ({ data }: MessageEvent<FromEngine>) => {
      if (data.type === 'unloaded') this.onUnloaded()
      else if (data.id !== undefined) this.#waiting.get(data.id)?.(data)
    })
    let alive = false
    worker.addEventListener('message', () => (alive = true), { once: true })
    worker.addEventListener('error', ({ message }) => {
      const why = message || (alive ? 'it ran out of memory' : 'its script did not load')
      const stopped = `the engine stopped (${why}); load a model again, or reload the page`
      const failed: FromEngine = { type: 'failed', code: 'page', message: stopped }
      this.#lost = failed
      this.onUnloaded(stopped)
      for (const listener of [...this.#waiting.values()]) listener(failed)
    })
    return worker
  }

  /**
   * Loads a model in place of the one in memory, which answers until the new one has been fetched. A
   * load that is still running is cancelled. Rejects with `aborted` if this one is.
   */
  load(
    source: ModelSource,
    { device, threads }: Where,
    onProgress: (progress: Progress) => void,
    signal: AbortSignal,
  ): Promise<Ready> {
    if (this.#lost) {
      this.#worker.terminate()
      this.#lost = undefined
      this.#worker = this.#started()
    }
    return this.#ask(
      (id) => ({ type: 'load', id, source, device, threads }),
      'ready',
      signal,
      (message) => {
        if (message.type === 'progress') onProgress(message)
      },
    )
  }

  async answer(question: Question, events: AnswerEvents, signal: AbortSignal): Promise<AnswerFigures> {
    const done = await this.#ask(
      (id) => ({ ...question, type: 'answer', id }),
      'answered',
      signal,
      (message) => {
        if (message.type === 'token') events.onText(message.text, message.exact)
        if (message.type === 'correction') events.onCorrection(message.text)
        if (message.type === 'call') events.onCall(message.index, message.name)
        if (message.type === 'arguments') events.onArguments(message.index, message.text)
      },
    )
    return done.figures
  }

  /** Measures exact TTFT of the same prompt with as much of it in the cache, in milliseconds. */
  async exactTtft(question: Question, cachedTokens: number, signal: AbortSignal): Promise<number> {
    const { mode: _, ...asked } = question
    return (await this.#ask((id) => ({ ...asked, type: 'time', id, cachedTokens }), 'timed', signal)).ttft
  }

  /** Computes a conversation ahead of its next question. Resolves with its length in tokens. */
  async readAhead(question: Omit<Question, 'mode'>, signal: AbortSignal): Promise<number> {
    return (await this.#ask((id) => ({ ...question, type: 'read', id }), 'read', signal)).tokens
  }

  /** Compiles a schema. Rejects with what is wrong with it, and where. */
  async check(schema: string, signal: AbortSignal): Promise<void> {
    await this.#ask((id) => ({ type: 'check', id, schema }), 'checked', signal)
  }

  async pack(
    prompts: readonly string[],
    onProgress: (share: number) => void,
    signal: AbortSignal,
  ): Promise<PackFigures> {
    const done = await this.#ask(
      (id) => ({ type: 'pack', id, prompts }),
      'packed',
      signal,
      (message) => {
        if (message.type === 'packing') onProgress(message.done / message.total)
      },
    )
    return done.figures
  }

  /** Removes stored files; `unload` closes the model in memory first. */
  async forget(hashes: readonly string[], unload: boolean): Promise<void> {
    await this.#ask((id) => ({ type: 'forget', id, hashes, unload }), 'forgotten', new AbortController().signal)
  }

  #ask<T extends FromEngine['type']>(
    request: (id: number) => ToEngine,
    end: T,
    signal: AbortSignal,
    onEvent: Listener = () => {},
  ): Promise<Extract<FromEngine, { type: T }>> {
    const id = this.#next++
    const cancel = () => this.#send({ type: 'cancel', id })
    return new Promise<Extract<FromEngine, { type: T }>>((resolve, reject) => {
      this.#waiting.set(id, (message) => {
        if (message.type === end) resolve(message as Extract<FromEngine, { type: T }>)
        else if (message.type === 'failed') reject(new PageError(message.code, message.message))
        else onEvent(message)
      })
      signal.addEventListener('abort', cancel)
      this.#send(request(id))
    }).finally(() => {
      signal.removeEventListener('abort', cancel)
      this.#waiting.delete(id)
    })
  }

  /** Sends a message; a worker that has ended answers with its failure. */
  #send(message: ToEngine): void {
    if (this.#lost) this.#waiting.get(message.id)?.(this.#lost)
    else this.#worker.postMessage(message)
  }
}
