/**
 * Simulates a network between two sockets of this machine: delay, bandwidth, lost packets, TCP's
 * slow start. Bytes are passed on in order when a model of the link says that they have arrived.
 */

import type { AddressInfo } from 'node:net'
import { createServer, connect as dial, type Server, type Socket } from 'node:net'
import { createRandom } from '../../src/decode/random.ts'
import type { Regime } from './world.ts'

export type Link = Pick<Regime, 'rtt_ms' | 'mbit_s' | 'loss'>

const packet = 1400
const firstWindow = 10 * packet
/** A connection that was idle for this many milliseconds starts slowly again. */
const idleMs = 1000
const timeoutMs = 200
/** Maximum bytes in flight before the sender is paused. */
const most = 1 << 22

export interface Proxy {
  readonly port: number
  close(): Promise<void>
}

/** Listens on loopback for connections to `port`. `link` is read anew for each piece. */
export async function startProxy(port: number, link: () => Link, seed: number): Promise<Proxy> {
  const random = createRandom(seed)
  const sockets = new Set<Socket>()
  const server: Server = createServer((near) => {
    const far = dial(port, '127.0.0.1')
    for (const socket of [near, far]) {
      socket.setNoDelay(true)
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
      socket.on('error', () => {})
    }
    carry(near, far, link, random)
    carry(far, near, link, random)
  })
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((closed) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => closed())
      }),
  }
}

function carry(from: Socket, to: Socket, link: () => Link, random: () => number): void {
  const wait = new Arrivals(link, random)
  let held = 0
  let end: Promise<void> = Promise.resolve()
  const later = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
  from.on('data', (bytes) => {
    held += bytes.length
    if (held > most) from.pause()
    for (let at = 0; at < bytes.length; at += 16 * packet) {
      const piece = bytes.subarray(at, at + 16 * packet)
      const due = wait.arrival(piece.length)
      end = end.then(async () => {
        const left = due - performance.now()
        if (left > 0.5) await later(left)
        if (!to.destroyed) to.write(piece)
        held -= piece.length
        if (held < most / 2) from.resume()
      })
    }
  })
  from.on('end', () => void end.then(() => later(link().rtt_ms / 2)).then(() => to.end()))
  from.on('close', () => void end.then(() => to.destroy()))
}

/** Computes when bytes that are sent now will have arrived. */
class Arrivals {
  readonly #link: () => Link
  readonly #random: () => number
  #free = 0
  #window = firstWindow
  #inWindow = 0

  constructor(link: () => Link, random: () => number) {
    this.#link = link
    this.#random = random
  }

  arrival(bytes: number): number {
    const { rtt_ms, mbit_s, loss } = this.#link()
    const now = performance.now()
    if (now - this.#free > idleMs) this.#window = firstWindow
    if (now > this.#free) this.#inWindow = 0
    this.#free = Math.max(this.#free, now)
    const wire = (mbit_s * 1e6) / 8 / 1000
    const rate = loss > 0 ? Math.min(wire, (packet / rtt_ms) * (1.22 / Math.sqrt(loss))) : wire
    this.#free += bytes / wire
    this.#inWindow += bytes
    // A full window waits for its acknowledgement; each doubles the next, until the link is full.
    if (this.#window < rate * rtt_ms && this.#inWindow >= this.#window) {
      this.#free += rtt_ms
      this.#window *= 2
      this.#inWindow = 0
    } else if (this.#window >= rate * rtt_ms && rate < wire) this.#free += bytes / rate - bytes / wire
    // After few bytes, nothing follows that would reveal a loss.
    if (bytes < 4 * packet && this.#random() < loss) this.#free += timeoutMs + rtt_ms
    return this.#free + rtt_ms / 2
  }
}
