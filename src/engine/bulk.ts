/**
 * Runs many small jobs of one caller beside all other requests of an engine. Few are handed to the
 * scheduler at a time, about two passes' worth: others find a short queue, and what a cancelled call
 * has not begun costs nothing.
 */
import { at } from '../base/at.ts'
import { Callback } from '../base/callback.ts'
import { throwIfAborted } from '../base/cancelled.ts'
import { asForetokenError, type ForetokenError } from '../base/errors.ts'
import type { Scheduler } from '../decode/scheduler.ts'
import type { Job } from '../decode/task.ts'

/** A job without what all jobs of a call share. */
export type BulkJob = Omit<Job, 'tenant' | 'signal' | 'bulk' | 'end'>

export interface BulkOptions {
  readonly tenant: string
  readonly signal: AbortSignal | undefined
  /** Maximum number of tokens in flight; a job begins as long as there are fewer. */
  readonly window: number
  /** Number of jobs that are complete before others begin, which find what these cached. */
  readonly ahead?: number
  /** Called after each job, with the number of complete jobs and of all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

/** Maximum number of jobs in flight, whatever their length. */
const mostInFlight = 32

/**
 * Runs all jobs. Rejects with the first failure, of a job, of `onProgress` or of `signal`; the other
 * jobs are cancelled then.
 */
export async function runBulk(
  scheduler: Pick<Scheduler, 'add' | 'drive'>,
  jobs: readonly BulkJob[],
  options: BulkOptions,
): Promise<void> {
  const { signal, ahead = 0 } = options
  const progress = new Callback('onProgress', options.onProgress)
  const flight = new Flight(scheduler, options)
  const leave = () => flight.cancel()
  signal?.addEventListener('abort', leave, { once: true })
  try {
    for (let [next, reported] = [0, 0]; reported < jobs.length; ) {
      throwIfAborted(signal)
      while (next < jobs.length && (next < ahead ? flight.idle : flight.done >= ahead)) {
        if (!flight.begins(at(jobs, next))) break
        next++
      }
      await scheduler.drive(() => flight.done > reported || flight.failure !== undefined)
      throwIfAborted(signal)
      if (flight.failure) throw flight.failure
      while (reported < flight.done) progress.call(++reported, jobs.length)
    }
    await progress.settle()
  } finally {
    signal?.removeEventListener('abort', leave)
    flight.cancel()
  }
}

/** The jobs that the scheduler has. */
class Flight {
  /** Number of jobs that are complete. */
  done = 0
  failure: ForetokenError | undefined
  readonly #scheduler: Pick<Scheduler, 'add'>
  readonly #options: BulkOptions
  readonly #controls = new Set<AbortController>()
  #tokens = 0

  constructor(scheduler: Pick<Scheduler, 'add'>, options: BulkOptions) {
    this.#scheduler = scheduler
    this.#options = options
  }

  get idle(): boolean {
    return this.#controls.size === 0
  }

  /**
   * Hands a job to the scheduler. Returns false if that has to wait for another job of the call.
   * Throws what `Scheduler.add` throws.
   */
  begins(job: BulkJob): boolean {
    const { tenant, window } = this.#options
    if (!this.idle && (this.#tokens >= window || this.#controls.size >= mostInFlight)) return false
    const control = new AbortController()
    const { length } = job.ids
    const end = (error?: ForetokenError) => {
      this.#controls.delete(control)
      this.#tokens -= length
      if (error) this.failure ??= error
      else this.done++
    }
    try {
      this.#scheduler.add({ ...job, tenant, signal: control.signal, bulk: true, end })
    } catch (error) {
      if (asForetokenError(error).code === 'busy' && !this.idle) return false
      throw error
    }
    this.#controls.add(control)
    this.#tokens += length
    return true
  }

  cancel(): void {
    for (const control of this.#controls) control.abort()
  }
}
