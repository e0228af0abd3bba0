/** Records what one answer learns about the companion that it asks. */
import { asForetokenError, type ErrorCode } from '../base/errors.ts'
import type { Arrived } from '../transfer/feed.ts'
import { isRefusal, type RemoteCompanion } from '../transfer/remote.ts'
import type { WaitBudget } from '../transfer/wait-budget.ts'
import type { Companion, Ending } from './companions.ts'

/** Failures of a companion. Any other code is a failure of this engine, not of the companion. */
const companionFailures: ReadonlySet<ErrorCode> = new Set([
  'remote',
  'bad_kv',
  'bad_mac',
  'checksum',
  'wrong_model',
  'network',
])

/**
 * If a companion had to wait longer than this for the reader, in milliseconds, breaking off does
 * not count as its failure.
 */
const excusedMs = 1000

export class Trial {
  readonly #companion: Companion<RemoteCompanion> | undefined
  #ending: Ending = 'left'
  #fellBack: string | undefined
  #transfer: Arrived | undefined
  #heldMs = 0
  #answered = false

  constructor(companion: Companion<RemoteCompanion> | undefined) {
    this.#companion = companion
  }

  /** How the companion's part ended; undefined if none was asked. */
  get ending(): Ending | undefined {
    return this.#companion && this.#ending
  }

  /** Why the companion's part was abandoned; undefined if it was not. */
  get fellBack(): string | undefined {
    return this.#fellBack
  }

  /** Measurement of the network; undefined without a complete transfer. */
  get transfer(): Arrived | undefined {
    return this.#transfer
  }

  /** Adds milliseconds for which the companion had to wait for this answer's reader. */
  readonly noteHeld = (ms: number) => {
    this.#heldMs += ms
  }

  /**
   * Lets other requests try the companion, since it answers. How this request ends is reported
   * later.
   */
  answered(): void {
    if (!this.#answered) this.#companion?.breaker.left()
    this.#answered = true
  }

  /**
   * Records that the companion's part is complete. `transfer` is the measurement of the network.
   */
  succeeded(transfer?: Arrived): void {
    this.#ending = 'succeeded'
    if (transfer) this.#transfer = transfer
  }

  /** Records that the companion's part was abandoned, and which side caused it. */
  failed(error: unknown, budget: WaitBudget): void {
    const { code, message } = asForetokenError(error, 'remote')
    const late = budget.spent
    // A companion that waited long for this reader may have broken off for that.
    const excused = this.#heldMs > excusedMs || !companionFailures.has(code) || isRefusal(error)
    this.#ending = late || !excused ? 'failed' : 'left'
    this.#fellBack = late ? `it took too long: ${Math.round(budget.waitedMs)} ms` : `${code}: ${message}`
  }
}
