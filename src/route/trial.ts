/** What one answer learns of the companion that it asks. */
import { asForetokenError, type ErrorCode } from '../base/errors.ts'
import type { Arrived } from '../transfer/feed.ts'
import type { WaitBudget } from '../transfer/patience.ts'
import { isRefusal, type RemoteCompanion } from '../transfer/remote.ts'
import type { Companion, Ending } from './companions.ts'

/**
 * Failures of a companion. Any other code is a failure of this engine, and says nothing about the
 * companion.
 */
const companionFailures: ReadonlySet<ErrorCode> = new Set([
  'remote',
  'bad_kv',
  'bad_mac',
  'checksum',
  'wrong_model',
  'network',
])

/**
 * A companion that had to wait longer than this for the reader is not blamed for breaking off, in
 * milliseconds.
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

  /** Why the companion's part was given up; undefined if it was not. */
  get fellBack(): string | undefined {
    return this.#fellBack
  }

  /** What was measured of the network; undefined without a complete transfer. */
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
   * Notes that the companion's part is complete. `transfer` is what was measured of the network.
   */
  succeeded(transfer?: Arrived): void {
    this.#ending = 'succeeded'
    if (transfer) this.#transfer = transfer
  }

  /** Notes that the companion's part was given up, and who is to blame for it. */
  failed(error: unknown, budget: WaitBudget): void {
    const { code, message } = asForetokenError(error, 'remote')
    const late = budget.spent
    // A companion that waited long for this reader may have broken off for that.
    const excused = this.#heldMs > excusedMs || !companionFailures.has(code) || isRefusal(error)
    this.#ending = late || !excused ? 'failed' : 'left'
    this.#fellBack = late ? `it took too long: ${Math.round(budget.waitedMs)} ms` : `${code}: ${message}`
  }
}
