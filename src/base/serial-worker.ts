/**
 * Runs one worker of a kind at a time, with one piece of work at a time: it is started when needed,
 * ended when it takes too long or is idle, and then started anew.
 */

import { cancelled, throwIfAborted } from './cancelled.ts'
import { asForetokenError, ForetokenError } from './errors.ts'
import { longestTimer } from './timeout.ts'

/** A worker as a platform provides it. */
export interface WorkerHandle<To> {
  post(message: To): void
  /** Ends the worker at once, whatever it is doing. `ended` need not be called any more. */
  terminate(): void
}

/**
 * Starts a worker. Its messages go to `message`; if it ends by itself, `ended` is called with the
 * reason.
 */
export type SpawnWorker<To, From> = (listeners: {
  readonly message: (message: From) => void
  readonly ended: (reason: string) => void
}) => WorkerHandle<To>

/** What a worker may answer: that it has started, and then one message to each piece of work. */
type Answering = { readonly type: 'opened' } | { readonly type: string; readonly id: number }

/** How a worker is started, how long it may take, and how its failures are reported. */
export interface SerialWorkerOptions<To, From> {
  readonly spawn: SpawnWorker<To, From>
  /** Returns the first message to a worker, which it answers with `opened`. */
  open(): To
  /** Called with the answer to `open`. */
  opened?(message: From): void
  /** Milliseconds that a worker may take to start. Default 60,000. */
  readonly startMs?: number | undefined
  /** Milliseconds that one piece of work may take. Default 10,000. */
  readonly deadlineMs?: number | undefined
  /**
   * Milliseconds that cancelled work may still take before its worker is ended, since a new worker
   * costs more. Default 200.
   */
  readonly graceMs?: number | undefined
  /** Milliseconds after which an idle worker is ended. Default 300,000. */
  readonly idleMs?: number | undefined
  /** Returns the failure of work that took longer than `deadlineMs`. */
  late(deadlineMs: number): ForetokenError
  /** Returns the failure of work whose worker died. */
  died(reason: string): ForetokenError
}

/** Thrown if no worker can run here: the host forbids workers, or the script does not load. */
export class NoWorker extends Error {
  override readonly name = 'NoWorker'
}

interface Work<From> {
  readonly id: number
  readonly resolve: (answer: From) => void
  readonly reject: (error: Error) => void
}

type Timer = ReturnType<typeof setTimeout>

/** Runs the worker of one owner. */
export class SerialWorker<To, From extends Answering> {
  readonly #options: SerialWorkerOptions<To, From>
  #worker: WorkerHandle<To> | undefined
  /** Whether the current worker has started; whether any ever has. */
  #opened = false
  #works = false
  #work: Work<Exclude<From, { type: 'opened' }>> | undefined
  #number = 0
  #closed = false
  #late: Timer | undefined
  #idle: Timer | undefined

  constructor(options: SerialWorkerOptions<To, From>) {
    this.#options = options
  }

  /**
   * Runs one piece of work, whose message `request` makes, and resolves with the worker's answer.
   * The caller must wait for it before the next call. Rejects with `aborted`, with `late` and `died`
   * of the options, and with NoWorker.
   */
  async run(request: (id: number) => To, signal: AbortSignal | undefined): Promise<Exclude<From, { type: 'opened' }>> {
    throwIfAborted(signal)
    if (this.#closed) throw closed()
    const { graceMs = 200 } = this.#options
    const { promise, resolve, reject } = Promise.withResolvers<Exclude<From, { type: 'opened' }>>()
    const id = ++this.#number
    let grace: Timer | undefined
    const onAbort = () => {
      grace = setTimeout(() => this.#end(cancelled()), Math.min(graceMs, longestTimer))
    }
    this.#work = { id, resolve, reject }
    signal?.addEventListener('abort', onAbort)
    clearTimeout(this.#idle)
    try {
      this.#start()
      this.#worker?.post(request(id))
      this.#limit()
    } catch (error) {
      reject(asForetokenError(error, 'bad_argument'))
    }
    try {
      const answer = await promise
      throwIfAborted(signal)
      return answer
    } finally {
      clearTimeout(grace)
      clearTimeout(this.#late)
      signal?.removeEventListener('abort', onAbort)
      this.#work = undefined
      this.#rest()
    }
  }

  /** Ends the worker and rejects the work in progress as `aborted`. */
  close(): void {
    this.#closed = true
    clearTimeout(this.#idle)
    this.#end(closed())
  }

  #start(): void {
    if (this.#worker) return
    const { spawn, open } = this.#options
    this.#opened = false
    try {
      const worker: WorkerHandle<To> = spawn({
        message: (message) => {
          if (this.#worker === worker) this.#hear(message)
        },
        ended: (reason) => {
          if (this.#worker === worker) this.#died(reason)
        },
      })
      this.#worker = worker
      worker.post(open())
    } catch (cause) {
      this.#end(new NoWorker((cause as Error).message, { cause }))
    }
  }

  /** Starts the time limit, which counts from when the worker has started. */
  #limit(): void {
    const { startMs = 60_000, deadlineMs = 10_000, late } = this.#options
    clearTimeout(this.#late)
    this.#late = this.#opened
      ? setTimeout(() => this.#end(late(deadlineMs)), Math.min(deadlineMs, longestTimer))
      : setTimeout(
          () => this.#end(new NoWorker(`it did not start within ${startMs} ms`)),
          Math.min(startMs, longestTimer),
        )
  }

  #hear(message: From): void {
    if (message.type === 'opened') {
      this.#opened = true
      this.#works = true
      this.#options.opened?.(message)
      if (this.#work) this.#limit()
      return
    }
    const answer = message as Exclude<From, { type: 'opened' }>
    if (answer.id === this.#work?.id) this.#work.resolve(answer)
  }

  #died(reason: string): void {
    this.#end(this.#works ? this.#options.died(reason) : new NoWorker(reason))
  }

  #end(error: Error): void {
    this.#worker?.terminate()
    this.#worker = undefined
    this.#work?.reject(error)
  }

  #rest(): void {
    if (!this.#worker) return
    const { idleMs = 300_000 } = this.#options
    this.#idle = setTimeout(() => this.#end(new NoWorker('it was idle')), Math.min(idleMs, longestTimer))
    // In Node the timer would keep the process alive.
    ;(this.#idle as { unref?: () => void }).unref?.()
  }
}

function closed(): ForetokenError {
  return new ForetokenError('aborted', 'the engine was closed')
}
