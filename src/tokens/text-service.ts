/** One text worker at a time: started when it is needed, ended when it takes too long or nobody needs it, and then started anew. */
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import type { TokenizerSpec } from '../base/model.ts'
import type { ChatMessage } from '../base/prompt.ts'
import { throwIfAborted } from '../base/turn.ts'
import type { PromptOptions } from './prompt.ts'
import type { FromTextWorker, SpawnText, TextWorker } from './text-messages.ts'

export interface TextServiceOptions {
  readonly spawn: SpawnText
  readonly spec: TokenizerSpec
  readonly context: number
  /** Milliseconds that a worker may take to come up. Default 60,000. */
  readonly startMs?: number
  /** Milliseconds that one prompt may take. Default 10,000. */
  readonly deadlineMs?: number
  /** Milliseconds that a prompt nobody waits for any more may take: a new worker would cost more. Default 200. */
  readonly graceMs?: number
  /** Milliseconds after which a worker that has nothing to do is ended. Default 300,000. */
  readonly idleMs?: number
}

export interface TextResult {
  readonly ids: number[]
  /** Milliseconds since the template had made its text, or since the beginning. */
  readonly tokenizeMs: number
}

/** There is no worker to be had here: a host forbids them, or the script does not load. */
export class NoTextWorker extends Error {
  override readonly name = 'NoTextWorker'
}

interface Job {
  readonly id: number
  readonly resolve: (result: TextResult) => void
  readonly reject: (error: Error) => void
}

type Timer = ReturnType<typeof setTimeout>

export class TextService {
  readonly #options: TextServiceOptions
  #worker: TextWorker | undefined
  /** Whether the worker has come up; whether any ever has. */
  #opened = false
  #works = false
  #job: Job | undefined
  #jobs = 0
  #closed = false
  #late: Timer | undefined
  #idle: Timer | undefined

  constructor(options: TextServiceOptions) {
    this.#options = options
  }

  /**
   * Reads one prompt; the caller waits for it before the next. Rejects with what reading it throws, with `aborted`, with `bad_model`
   * where it took too long, `out_of_memory` or `worker_lost` where the worker died of it, and with NoTextWorker.
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
    const gone = new ForetokenError('aborted', 'the request was cancelled')
    let grace: Timer | undefined
    const onAbort = () => {
      grace = setTimeout(() => this.#end(gone), graceMs)
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

  /** Ends the worker; what it reads is `aborted`. */
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

  /** Time is counted from when the worker is up. */
  #limit(): void {
    const { startMs = 60_000, deadlineMs = 10_000 } = this.#options
    clearTimeout(this.#late)
    this.#late = this.#opened
      ? setTimeout(() => {
          const message = `making tokens of this prompt took more than ${deadlineMs} ms: the model's chat template or its patterns run on`
          this.#end(new ForetokenError('bad_model', message))
        }, deadlineMs)
      : setTimeout(() => this.#end(new NoTextWorker(`it did not come up within ${startMs} ms`)), startMs)
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
      this.#end(
        new ForetokenError('out_of_memory', `making tokens of this prompt took more memory than it may: ${reason}`),
      )
    else this.#end(new ForetokenError('worker_lost', `the text worker ended: ${reason}; try again`))
  }

  #end(error: Error): void {
    this.#worker?.terminate()
    this.#worker = undefined
    this.#job?.reject(error)
  }

  #rest(): void {
    if (!this.#worker) return
    this.#idle = setTimeout(() => this.#end(new NoTextWorker('nobody needed it')), this.#options.idleMs ?? 300_000)
    // In Node a timer would keep the process alive.
    ;(this.#idle as { unref?: () => void }).unref?.()
  }
}

function closed(): ForetokenError {
  return new ForetokenError('aborted', 'the engine was closed')
}
