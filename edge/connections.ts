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
import { Drains } from './drains.ts'
import { ApiError } from './errors.ts'
import { IncomingBody } from './incoming-body.ts'

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
