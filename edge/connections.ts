/**
 * Guards the connections of Node's server against clients that are slow, greedy or gone:
 *
 * - An answer sent before the end of the body can be read: the rest of the body is drained, within
 *   bounds, before the connection closes. Closing a connection with unread bytes resets it, and its
 *   client loses the answer.
 * - An answer that the client does not read is abandoned.
 * - A body in many small chunks costs no more than its bytes, and its sender waits for the time
 *   that parsing took.
 * - A stop first accepts the connections that wait, since the system resets those when the listener
 *   closes.
 * - Idle connections are kept for longer than the pools of common clients keep them, so that no
 *   request meets a closing connection.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { ApiError } from './errors.ts'
import { Buckets } from './guard/buckets.ts'

/** Handles a request. */
export type Listener = (incoming: IncomingMessage, outgoing: ServerResponse) => unknown

export interface ConnectionLimits {
  /** Maximum number of requests in progress, of all connections. */
  readonly requests: number
  /** Time that an answer may stay unread, in milliseconds. */
  readonly stallMs: number
  /** How long clients may reuse an idle connection, as announced to them, in milliseconds. */
  readonly idleMs: number
  /** Bytes of bodies drained per minute, of all connections. A quarter may come at once. */
  readonly drainedBytesPerMinute: number
}

/**
 * How long connections are kept for longer than announced, in milliseconds. A client that reuses
 * one until the announced end began to count later, and its request is on its way for a while; a
 * server that closed at the announced time would reset it. Node 24 adds a second; earlier ones
 * nothing.
 */
const keptLongerMs = 5000
/**
 * Time, once the server stops, that a connection without a complete request is kept: one may be on
 * its way.
 */
const silentMs = 1000
/** Maximum number of requests of one connection in progress. */
const pipelined = 16

/**
 * Limits of a drained body: its bytes, its time, and the time without a byte. At most `atOnce`
 * bodies are drained at a time and the others wait, so that draining takes a small part of each
 * turn of the event loop. All of them share a rate, since no key is needed to be drained.
 */
const drain = { bytes: 256 << 20, ms: 30_000, idleMs: 2000, countMs: 20, atOnce: 32 }
/** Time to drain a body once the server stops: enough to read an answer. */
const drainStoppingMs = 2000

export interface GuardedConnections {
  /** Resolves when no connection waits to be accepted, or after `ms`. The listener stays open. */
  acceptWaiting(ms: number): Promise<void>
  /** Closes idle connections now, and each other one when it has nothing left to answer. */
  stop(): void
}

/** Guards the server's connections, and calls `listener` for its requests. */
export function guardConnections(server: Server, listener: Listener, limits: ConnectionLimits): GuardedConnections {
  const { requests, stallMs, drainedBytesPerMinute, idleMs } = limits
  // Node announces `keepAliveTimeout` if the answer has no header of its own (`announceIdle`).
  server.keepAliveTimeout = idleMs + keptLongerMs
  server.headersTimeout = server.keepAliveTimeout + 5000
  // Bodies have a limit of the app's own.
  server.requestTimeout = 0
  server.timeout = stallMs
  /** Requests in progress, by connection; absent when there is none. */
  const active = new Map<Socket, number>()
  const open = new Set<Socket>()
  const drains = new Drains(drainedBytesPerMinute)
  let running = 0
  let stopping = false
  let accepted = 0

  server.on('connection', (socket: Socket) => {
    accepted++
    open.add(socket)
    // Until its first request a connection is idle, not stalled: the client may open it ahead of need.
    socket.setTimeout(server.keepAliveTimeout)
    socket.once('close', () => open.delete(socket))
  })
  server.on('timeout', (socket: Socket) => {
    const before = progress(socket)
    // Timers run before sockets are read. If a pass held the loop, the client's bytes may be waiting,
    // so the loop reads first; whatever it reads or writes starts the time anew.
    setImmediate(() => {
      if (progress(socket) !== before) return
      // A connection may wait for its answer for any time, but not leave one unread.
      if (!active.has(socket) || socket.writableLength > 0) socket.destroy()
    })
  })

  const handle = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const { socket } = incoming
    const unanswered = active.get(socket) ?? 0
    if (unanswered >= pipelined) return socket.destroy()
    running++
    active.set(socket, unanswered + 1)
    socket.setTimeout(stallMs)
    outgoing.once('close', () => {
      running--
      const left = (active.get(socket) ?? 1) - 1
      if (left > 0) active.set(socket, left)
      else active.delete(socket)
      if (stopping && left === 0) socket.destroySoon()
    })
    const body = new IncomingBody(incoming)
    closeEarlyAnswers(incoming, outgoing)
    announceIdle(outgoing, idleMs)
    lingerAfter(socket, body, drains)
    if (running > requests) return refuse(outgoing, requests)
    return listener(incoming, outgoing)
  }
  server.on('request', handle)
  server.on('checkContinue', (incoming, outgoing) => {
    continueWhenRead(incoming, outgoing)
    handle(incoming, outgoing)
  })
  return {
    async acceptWaiting(ms) {
      const until = performance.now() + ms
      // The event loop accepts one connection in each turn, and two immediates are at least a whole
      // turn apart.
      for (let before = -1; before !== accepted && performance.now() < until; ) {
        before = accepted
        await turn()
        await turn()
      }
    },
    stop() {
      stopping = true
      drains.stop()
      server.closeIdleConnections()
      // Node counts a connection that has sent nothing, or half a head, as busy. One whose writable
      // side has ended is being drained.
      setTimeout(() => {
        for (const socket of open) if (!active.has(socket) && !socket.writableEnded) socket.destroy()
      }, silentMs)
    },
  }
}

/** Returns the number of bytes that the client has sent and taken. */
function progress(socket: Socket): number {
  return socket.bytesRead + socket.bytesWritten - socket.writableLength
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Chunks smaller than this, in bytes, are combined. */
const smallBytes = 1024
/** Number of small chunks of a body that cause no wait. The sender waits for each further one. */
const freeChunks = 4096
const waitPerChunkMs = 0.1
const longestWaitMs = 1000

/**
 * Combines small chunks of a body between the parser, which passes them on as they arrive, and the
 * body's reader.
 */
class IncomingBody {
  readonly #incoming: IncomingMessage
  readonly #push: IncomingMessage['push']
  /** Combined small chunks, of which the first `#length` bytes are used. */
  #held: Buffer | undefined
  #length = 0
  /** Number of small chunks so far; `#burst` counts those since the last flush. */
  #chunks = 0
  #burst = 0
  #scheduled = false
  #discarded: (() => void) | undefined

  constructor(incoming: IncomingMessage) {
    this.#incoming = incoming
    this.#push = incoming.push.bind(incoming)
    incoming.push = (chunk: Buffer | null) => this.#accept(chunk)
  }

  /** True while more of the body may come. */
  get open(): boolean {
    return !this.#incoming.complete && !this.#incoming.socket.destroyed
  }

  /** Continues reading and drops the bytes. Calls `done` at the end of the body. */
  discard(done: () => void): void {
    this.#discarded = done
    this.#held = undefined
    this.#length = 0
    // Resumes the parser, which the reader may have paused.
    this.#incoming._read(0)
  }

  /** Accepts a chunk, or null at the end. Returns false to pause the parser. */
  #accept(chunk: Buffer | null): boolean {
    if (chunk === null || chunk.length >= smallBytes) {
      this.#flush()
      if (!this.#discarded) return this.#push(chunk)
      if (chunk === null) this.#discarded()
      return true
    }
    this.#chunks++
    this.#burst++
    if (!this.#discarded) this.#hold(chunk)
    if (!this.#scheduled) this.#schedule()
    return (
      this.#chunks <= freeChunks && this.#incoming.readableLength + this.#length < this.#incoming.readableHighWaterMark
    )
  }

  #hold(chunk: Buffer): void {
    if (!this.#held) this.#held = chunk
    else {
      const length = this.#length + chunk.length
      // The first chunk is the parser's buffer, which must not be written to.
      if (length > this.#held.length) {
        const larger = Buffer.allocUnsafe(Math.max(4096, 2 * length))
        larger.set(this.#held.subarray(0, this.#length))
        this.#held = larger
      }
      this.#held.set(chunk, this.#length)
    }
    this.#length += chunk.length
  }

  /**
   * Passes on together the chunks that were parsed together. A sender of very many small chunks
   * waits, and the parser with it.
   */
  #schedule(): void {
    this.#scheduled = true
    const flush = () => {
      this.#scheduled = false
      const wait = this.#chunks > freeChunks ? Math.min(longestWaitMs, this.#burst * waitPerChunkMs) : 0
      this.#burst = 0
      if (wait > 0) setTimeout(() => this.#flush(), wait)
      else this.#flush()
    }
    // The parser runs the tick queue after each chunk; only an immediate runs after all of them.
    setImmediate(flush)
  }

  #flush(): void {
    // A discarded body has no reader that would resume the parser.
    if (this.#discarded) this.#incoming._read(0)
    if (!this.#held || this.#length === 0) return
    const held = this.#held.subarray(0, this.#length)
    this.#held = undefined
    this.#length = 0
    this.#push(held)
  }
}

/**
 * Makes an answer before the end of the body announce that the connection closes. `lingerAfter`
 * handles the rest of the body.
 */
function closeEarlyAnswers(incoming: IncomingMessage, outgoing: ServerResponse): void {
  const { 'content-length': length = '0', 'transfer-encoding': chunked } = incoming.headers
  // Without a body there is nothing to drain, though the parser may not have reported its end yet.
  if (length === '0' && chunked === undefined) return
  const writeHead = outgoing.writeHead.bind(outgoing) as (...args: unknown[]) => ServerResponse
  outgoing.writeHead = ((...args: unknown[]) => {
    if (!incoming.complete) outgoing.shouldKeepAlive = false
    return writeHead(...args)
  }) as ServerResponse['writeHead']
}

/** Makes an answer that leaves its connection open announce for how long it may be reused. */
function announceIdle(outgoing: ServerResponse, idleMs: number): void {
  const writeHead = outgoing.writeHead.bind(outgoing) as (...args: unknown[]) => ServerResponse
  outgoing.writeHead = ((...args: unknown[]) => {
    if (outgoing.shouldKeepAlive) outgoing.setHeader('keep-alive', `timeout=${Math.floor(idleMs / 1000)}`)
    return writeHead(...args)
  }) as ServerResponse['writeHead']
}

/**
 * Changes how Node closes the connection (`destroySoon`): it ends the writable side, drains what
 * the client still sends, and closes then.
 */
function lingerAfter(socket: Socket, body: IncomingBody, drains: Drains): void {
  const close = Object.getPrototypeOf(socket).destroySoon as () => void
  let lingers = false
  socket.destroySoon = () => {
    if (lingers) return
    lingers = true
    if (!body.open) return close.call(socket)
    socket.end()
    drains.add(socket, () => body.discard(() => close.call(socket)))
  }
}

/**
 * Connections that are only read to the end of their bodies. Not a `Gate`: see
 * docs/decisions/036-one-gate.md.
 */
class Drains {
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

/**
 * Handles `Expect: 100-continue`: the client is asked for its body when that is read, and never if
 * it is refused before.
 */
function continueWhenRead(incoming: IncomingMessage, outgoing: ServerResponse): void {
  const read = incoming._read.bind(incoming)
  let continued = false
  incoming._read = (size) => {
    if (!continued && !outgoing.headersSent) outgoing.writeContinue()
    continued = true
    read(size)
  }
}

function refuse(outgoing: ServerResponse, requests: number): void {
  const { status, body, headers } = new ApiError(503, `${requests} requests are being answered; try again`, {
    code: 'busy',
    retryAfter: 1,
  })
  outgoing.writeHead(status, { ...headers, 'content-type': 'application/json' })
  outgoing.end(JSON.stringify(body))
}
