/** Remembers the nonces of signed requests, so that none is accepted twice. */
import type { Signed } from './signature.ts'

/** Nonces are forgotten in this many steps of the time for which they are kept. */
const slots = 16

/** The nonces of one edge. */
interface EdgeNonces {
  /** Nonces by the time slot in which they were signed. */
  readonly slots: Map<number, Set<string>>
  count: number
  /** Nonces signed before this time have been forgotten. */
  forgotten: number
}

/**
 * Remembers recent nonces, so that a replay is refused. Each edge has a table of its own, so a full
 * one does not shut out other edges.
 */
export class Nonces {
  readonly #windowMs: number
  readonly #most: number
  readonly #slotMs: number
  readonly #edges = new Map<string, EdgeNonces>()

  /** A request's time may be off by `windowMs`; at most `most` nonces of an edge are kept. */
  constructor(windowMs = 60_000, most = 20_000) {
    this.#windowMs = windowMs
    this.#most = most
    this.#slotMs = Math.max(1, Math.ceil(windowMs / slots))
  }

  /** Returns true if a request's time is too far off. */
  isLate({ time }: Pick<Signed, 'time'>, now = Date.now()): boolean {
    return Math.abs(time - now) > this.#windowMs
  }

  /**
   * Records the nonce of a request whose MAC is right. Returns the reason if it cannot be accepted.
   */
  take(
    { id, nonce, time }: Pick<Signed, 'id' | 'nonce' | 'time'>,
    now = Date.now(),
  ): 'late' | 'replayed' | 'full' | undefined {
    if (this.isLate({ time }, now)) return 'late'
    const kept = this.#edges.get(id) ?? { slots: new Map(), count: 0, forgotten: Number.NEGATIVE_INFINITY }
    this.#forget(kept, now)
    // After the local clock was set back, nonces that were forgotten must not be accepted again.
    if (time < kept.forgotten) return 'late'
    const slot = Math.floor(time / this.#slotMs)
    const nonces = kept.slots.get(slot) ?? new Set()
    if (nonces.has(nonce)) return 'replayed'
    // Forgetting a nonce early would allow its replay.
    if (kept.count >= this.#most) return 'full'
    this.#edges.set(id, kept)
    kept.slots.set(slot, nonces.add(nonce))
    kept.count++
    return undefined
  }

  /** Forgets the nonces whose time has passed, since a request with such a time is late. */
  #forget(kept: EdgeNonces, now: number): void {
    for (const [slot, nonces] of kept.slots) {
      const behind = (slot + 1) * this.#slotMs
      if (behind > now - this.#windowMs) continue
      kept.slots.delete(slot)
      kept.count -= nonces.size
      kept.forgotten = Math.max(kept.forgotten, behind)
    }
  }
}
