/**
 * Runs one text worker at a time: it is started when needed, ended when it takes too long or is
 * idle, and then started anew.
 */

import { cancelled, throwIfAborted } from '../base/cancelled.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import type { TokenizerSpec } from '../base/model.ts'
import type { ChatMessage } from '../base/prompt.ts'
import type { PromptOptions } from './prompt.ts'
import type { FromTextWorker, SpawnText, TextWorker } from './text-messages.ts'

/** How a text worker is started, and how long it may take. */
export interface TokenizerWorkerOptions {
  readonly spawn: SpawnText
  readonly spec: TokenizerSpec
  readonly context: number
  /** Milliseconds that a worker may take to start. Default 60,000. */
  readonly startMs?: number
  /** Milliseconds that one prompt may take. Default 10,000. */
  readonly deadlineMs?: number
  /**
   * Milliseconds that a cancelled prompt may still take before its worker is ended, since a new
   * worker costs more. Default 200.
   */
  readonly graceMs?: number
  /** Milliseconds after which an idle worker is ended. Default 300,000. */
  readonly idleMs?: number
}

/** The ids of a prompt. */
export interface TextResult {
  readonly ids: number[]
  /** Milliseconds since the template was rendered, or since the worker began. */
  readonly tokenizeMs: number
}

/** Thrown if no worker can run here: the host forbids workers, or the script does not load. */
export class NoTextWorker extends Error {
  override readonly name = 'NoTextWorker'
}

interface Job {
  readonly id: number
  readonly resolve: (result: TextResult) => void
  readonly reject: (error: Error) => void
}

type Timer = ReturnType<typeof setTimeout>

/** Runs the text worker of one engine. */
export class TokenizerWorker {
  readonly #options: TokenizerWorkerOptions
  #worker: TextWorker | undefined
  /** Whether the current worker has started; whether any ever has. */
  #opened = false
  #works = false
  #job: Job | undefined
  #jobs = 0
  #closed = false
  #late: Timer | undefined
  #idle: Timer | undefined

  constructor(options: TokenizerWorkerOptions) {
    this.#options = options
  }

  /**
   * Reads one prompt. The caller must wait for it before the next call. Rejects with what reading
   * it throws, with `aborted`, with `bad_model` if it took too long, with `out_of_memory` or
   * `worker_lost` if the worker died, and with NoTextWorker.
   */
  async read(
    prompt: string | readonly ChatMessage[],
    options: PromptOptions,
    signal: AbortSignal | undefined,
  ): Promise<TextResult> {
    throwIfAborted(signal)
    if (this.#closed) throw closed()
    const { graceMs = 200 } = this.#options
    const { promise, resolve, reject } = Promise.withResolvers<TextResult>()
    const id = ++this.#jobs
    let grace: Timer | undefined
    const onAbort = () => {
      grace = setTimeout(() => this.#end(cancelled()), graceMs)
    }
    this.#job = { id, resolve, reject }
    signal?.addEventListener('abort', onAbort)
    clearTimeout(this.#idle)
    try {
      this.#start()
      this.#worker?.post({ type: 'read', id, prompt, options })
      this.#limit()
    } catch (error) {
      reject(asForetokenError(error, 'bad_argument'))
    }
    try {
      const result = await promise
      throwIfAborted(signal)
      return result
    } finally {
      clearTimeout(grace)
      clearTimeout(this.#late)
      signal?.removeEventListener('abort', onAbort)
      this.#job = undefined
      this.#rest()
    }
  }

  /** Ends the worker and rejects the prompt being read as `aborted`. */
  close(): void {
    this.#closed = true
    clearTimeout(this.#idle)
    this.#end(closed())
  }

  #start(): void {
    if (this.#worker) return
    const { spawn, spec, context } = this.#options
    this.#opened = false
    try {
      const worker: TextWorker = spawn({
        message: (message) => {
          if (this.#worker === worker) this.#hear(message)
        },
        ended: (reason) => {
          if (this.#worker === worker) this.#died(reason)
        },
      })
      this.#worker = worker
      worker.post({ type: 'open', spec, context })
    } catch (cause) {
      this.#end(new NoTextWorker((cause as Error).message, { cause }))
    }
  }

  /** Starts the time limit, which counts from when the worker has started. */
  #limit(): void {
    const { startMs = 60_000, deadlineMs = 10_000 } = this.#options
    clearTimeout(this.#late)
    this.#late = this.#opened
      ? setTimeout(() => {
          const message = `tokenizing this prompt took more than ${deadlineMs} ms: the model's chat template or its patterns take too long`
          this.#end(new ForetokenError('bad_model', message))
        }, deadlineMs)
      : setTimeout(() => this.#end(new NoTextWorker(`it did not start within ${startMs} ms`)), startMs)
  }

  #hear(message: FromTextWorker): void {
    if (message.type === 'opened') {
      this.#opened = true
      this.#works = true
      if (this.#job) this.#limit()
      return
    }
    if (message.id !== this.#job?.id) return
    const { resolve, reject } = this.#job
    if (message.type === 'ids') resolve({ ids: Array.from(message.ids), tokenizeMs: message.tokenizeMs })
    else reject(new ForetokenError(message.code, message.message))
  }

  #died(reason: string): void {
    if (!this.#works) this.#end(new NoTextWorker(reason))
    else if (/memory|heap/i.test(reason))
      this.#end(new ForetokenError('out_of_memory', `tokenizing this prompt took more memory than allowed: ${reason}`))
    else this.#end(new ForetokenError('worker_lost', `the text worker ended: ${reason}; try again`))
  }

  #end(error: Error): void {
    this.#worker?.terminate()
    this.#worker = undefined
    this.#job?.reject(error)
  }

  #rest(): void {
    if (!this.#worker) return
    this.#idle = setTimeout(() => this.#end(new NoTextWorker('it was idle')), this.#options.idleMs ?? 300_000)
    // In Node the timer would keep the process alive.
    ;(this.#idle as { unref?: () => void }).unref?.()
  }
}

function closed(): ForetokenError {
  return new ForetokenError('aborted', 'the engine was closed')
}
