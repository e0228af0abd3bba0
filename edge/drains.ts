/** Reads what is left of bodies whose answers have been sent. */
import type { Socket } from 'node:net'
import { Buckets } from './guard/buckets.ts'

/**
 * Limits of a drained body: its bytes, its time, and the time without a byte. At most `atOnce`
 * bodies are drained at a time and the others wait, so that draining takes a small part of each
 * turn of the event loop. All of them share a rate, since no key is needed to be drained.
 */
const drain = { bytes: 256 << 20, ms: 30_000, idleMs: 2000, countMs: 20, atOnce: 32 }
/** Time to drain a body once the server stops: enough to read an answer. */
const drainStoppingMs = 2000

/**
 * Connections that are only read to the end of their bodies. Not a `Gate`: see
 * docs/decisions/036-one-gate.md.
 */
export class Drains {
  readonly #running = new Set<Socket>()
  readonly #waiting = new Map<Socket, () => void>()
  readonly #perMinute: number
  readonly #buckets = new Buckets()
  #ms = drain.ms

  constructor(perMinute: number) {
    this.#perMinute = perMinute
  }

  /** Shortens the time of all drains, present and future. */
  stop(): void {
    this.#ms = drainStoppingMs
    for (const socket of [...this.#running, ...this.#waiting.keys()]) this.#limit(socket)
  }

  /** Calls `begin` when the connection may be drained, at the latest when others have closed. */
  add(socket: Socket, begin: () => void): void {
    this.#limit(socket)
    socket.once('close', () => {
      this.#running.delete(socket)
      this.#waiting.delete(socket)
      this.#next()
    })
    this.#waiting.set(socket, begin)
    this.#next()
  }

  #next(): void {
    for (const [socket, begin] of this.#waiting) {
      if (this.#running.size >= drain.atOnce) return
      this.#waiting.delete(socket)
      this.#running.add(socket)
      this.#watch(socket)
      begin()
    }
  }

  #limit(socket: Socket): void {
    const timer = setTimeout(() => socket.destroy(), this.#ms)
    socket.once('close', () => clearTimeout(timer))
  }

  #watch(socket: Socket): void {
    const from = socket.bytesRead
    let [counted, before] = [from, from]
    /**
     * Returns false if all connections together exceed the rate. A connection that is cut off may
     * lose its answer.
     */
    const affordable = () => {
      const { bytesRead } = socket
      const bucket = this.#buckets.filled('', this.#perMinute, this.#perMinute / 4, performance.now())
      bucket.left -= bytesRead - counted
      counted = bytesRead
      return bucket.left > 0
    }
    const count = setInterval(() => {
      if (!affordable()) socket.destroy()
    }, drain.countMs)
    const idle = setInterval(() => {
      const { bytesRead } = socket
      if (bytesRead === before || bytesRead - from > drain.bytes) socket.destroy()
      before = bytesRead
    }, drain.idleMs)
    socket.once('close', () => {
      clearInterval(count)
      clearInterval(idle)
      affordable()
    })
    if (!affordable()) socket.destroy()
  }
}
