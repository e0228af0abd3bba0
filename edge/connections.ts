/**
 * Connections of Node's server, guarded against clients that are slow, greedy or gone:
 *
 * - An answer that comes before the body has arrived is readable: the rest of the body is drained, within bounds, before the connection
 *   closes. A connection that is closed with bytes unread is reset, and its client loses the answer.
 * - An answer that nobody reads is given up, whatever it is.
 * - A body in many small pieces costs no more than its bytes, and its sender waits for what taking it apart took.
 * - A stop accepts what waits for it first: with its listener the system closes connections that nobody has accepted, by a reset.
 * - Idle connections are kept for longer than the pools of common clients keep them, so that no request meets a closing connection.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { ApiError } from './errors.ts'
import { Buckets } from './guard/buckets.ts'

export type Listener = (incoming: IncomingMessage, outgoing: ServerResponse) => unknown

export interface ConnectionLimits {
  /** Requests whose answers have not been sent, of all connections. */
  readonly requests: number
  /** How long an answer may stay unread. */
  readonly stallMs: number
  /** Bytes of bodies that are drained in a minute, of all connections; a quarter may come at once. */
  readonly drainedBytesPerMinute: number
}

/** Go's pool keeps connections for 90 s, aiohttp's for 15. */
const keepAliveMs = 95_000
/** How long a connection without a whole request may go on once the server stops: its request may be on the way. */
const silentMs = 1000
/** Requests of one connection that may be begun before the first is answered. */
const pipelined = 16

/**
 * A drained body: at most so much, in so long, and never waiting for the next byte for longer than a moment. Few are drained at once,
 * the others stand still until then: so draining takes a small part of every turn of the event loop. All of them together have a
 * rate, since nobody has to show a key to be drained.
 */
const drain = { bytes: 256 << 20, ms: 30_000, idleMs: 2000, countMs: 20, atOnce: 32 }
/** The same once the server stops: long enough to read an answer, and no longer. */
const drainStoppingMs = 2000

export interface GuardedConnections {
  /** Resolves when no connection waits to be accepted, or after `ms`. The listener is still open. */
  acceptWaiting(ms: number): Promise<void>
  /** From now on a connection closes when it has nothing to answer. */
  stop(): void
}

/** Calls `listener` for requests. */
export function guardConnections(server: Server, listener: Listener, limits: ConnectionLimits): GuardedConnections {
  const { requests, stallMs, drainedBytesPerMinute } = limits
  server.keepAliveTimeout = keepAliveMs
  server.headersTimeout = keepAliveMs + 5000
  // Bodies have a limit of the app's own.
  server.requestTimeout = 0
  server.timeout = stallMs
  /** Requests in progress, by connection. */
  const active = new Map<Socket, number>()
  const open = new Set<Socket>()
  const drains = new Drains(drainedBytesPerMinute)
  let running = 0
  let stopping = false
  let accepted = 0

  server.on('connection', (socket: Socket) => {
    accepted++
    open.add(socket)
    socket.once('close', () => open.delete(socket))
  })
  server.on('timeout', (socket: Socket) => {
    // A connection that waits for its answer may do so; one that has an answer and does not read it may not.
    if (!active.has(socket) || socket.writableLength > 0) socket.destroy()
  })

  const handle = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const { socket } = incoming
    const own = active.get(socket) ?? 0
    if (own >= pipelined) return socket.destroy()
    running++
    active.set(socket, own + 1)
    outgoing.once('close', () => {
      running--
      const left = active.get(socket)! - 1
      if (left > 0) active.set(socket, left)
      else active.delete(socket)
      if (stopping && left === 0) socket.destroySoon()
    })
    const body = new IncomingBody(incoming)
    closeEarlyAnswers(incoming, outgoing)
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
      // The event loop accepts one in each of its turns; two turns hold a whole one.
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
      // Node takes one that has sent nothing yet, or half a head, for busy. One that has said its last is being drained.
      setTimeout(() => {
        for (const socket of open) if (!active.has(socket) && !socket.writableEnded) socket.destroy()
      }, silentMs)
    },
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Pieces smaller than this are put together. */
const smallBytes = 1024
/** As many small pieces of a body are free; for each one more its sender waits. */
const freePieces = 4096
const waitPerPieceMs = 0.1
const longestWaitMs = 1000

/** Between the parser, which gives a body as it was cut, and whoever reads it. */
class IncomingBody {
  readonly #incoming: IncomingMessage
  readonly #push: IncomingMessage['push']
  /** Small pieces that came together. */
  #held: Buffer | undefined
  #length = 0
  #pieces = 0
  #burst = 0
  #scheduled = false
  #discarded: (() => void) | undefined

  constructor(incoming: IncomingMessage) {
    this.#incoming = incoming
    this.#push = incoming.push.bind(incoming)
    incoming.push = (piece: Buffer | null) => this.#take(piece)
  }

  /** Whether more of it may come. */
  get open(): boolean {
    return !this.#incoming.complete && !this.#incoming.socket.destroyed
  }

  /** Reads on, and keeps nothing. `done` is called at the body's end. */
  discard(done: () => void): void {
    this.#discarded = done
    this.#held = undefined
    this.#length = 0
    // What its readers paused goes on.
    this.#incoming._read(0)
  }

  /** False asks the parser to pause. */
  #take(piece: Buffer | null): boolean {
    if (piece === null || piece.length >= smallBytes) {
      this.#flush()
      if (!this.#discarded) return this.#push(piece)
      if (piece === null) this.#discarded()
      return true
    }
    this.#pieces++
    this.#burst++
    if (!this.#discarded) this.#hold(piece)
    if (!this.#scheduled) this.#schedule()
    return (
      this.#pieces <= freePieces && this.#incoming.readableLength + this.#length < this.#incoming.readableHighWaterMark
    )
  }

  #hold(piece: Buffer): void {
    if (!this.#held) this.#held = piece
    else {
      const length = this.#length + piece.length
      // The first piece is the parser's own buffer: it is not written to.
      if (length > this.#held.length) {
        const larger = Buffer.allocUnsafe(Math.max(4096, 2 * length))
        larger.set(this.#held.subarray(0, this.#length))
        this.#held = larger
      }
      this.#held.set(piece, this.#length)
    }
    this.#length += piece.length
  }

  /** All that is parsed at once is given at once; but a sender of very many small pieces waits, and the parser with it. */
  #schedule(): void {
    this.#scheduled = true
    const flush = () => {
      this.#scheduled = false
      const wait = this.#pieces > freePieces ? Math.min(longestWaitMs, this.#burst * waitPerPieceMs) : 0
      this.#burst = 0
      if (wait > 0) setTimeout(() => this.#flush(), wait)
      else this.#flush()
    }
    // The parser runs the tick queue after each piece: only an immediate comes after all of them.
    setImmediate(flush)
  }

  #flush(): void {
    // Nobody reads on: the parser is told to.
    if (this.#discarded) this.#incoming._read(0)
    if (this.#length === 0) return
    const held = this.#held!.subarray(0, this.#length)
    this.#held = undefined
    this.#length = 0
    this.#push(held)
  }
}

/** An answer before the body's end says that the connection closes; what comes then is `lingerAfter`'s. */
function closeEarlyAnswers(incoming: IncomingMessage, outgoing: ServerResponse): void {
  const { 'content-length': length = '0', 'transfer-encoding': chunked } = incoming.headers
  // Without a body there is nothing to wait for, though the parser may not have said so yet.
  if (length === '0' && chunked === undefined) return
  const writeHead = outgoing.writeHead.bind(outgoing) as (...args: unknown[]) => ServerResponse
  outgoing.writeHead = ((...args: unknown[]) => {
    if (!incoming.complete) outgoing.shouldKeepAlive = false
    return writeHead(...args)
  }) as ServerResponse['writeHead']
}

/** Node closes a connection by `destroySoon`; here it says that it is over, drains what the client still sends, and closes then. */
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

/** Connections that are only read to the end of their bodies. */
class Drains {
  readonly #running = new Set<Socket>()
  readonly #waiting = new Map<Socket, () => void>()
  readonly #perMinute: number
  readonly #buckets = new Buckets()
  #ms = drain.ms

  constructor(perMinute: number) {
    this.#perMinute = perMinute
  }

  /** From now on nothing is drained for long. */
  stop(): void {
    this.#ms = drainStoppingMs
    for (const socket of [...this.#running, ...this.#waiting.keys()]) this.#limit(socket)
  }

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
    /** Whether all connections together may go on. Whoever is cut off may lose its answer. */
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

/** `Expect: 100-continue`: whoever is refused without his body does not send it. */
function continueWhenRead(incoming: IncomingMessage, outgoing: ServerResponse): void {
  const read = incoming._read.bind(incoming)
  let told = false
  incoming._read = (size) => {
    if (!told && !outgoing.headersSent) outgoing.writeContinue()
    told = true
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
