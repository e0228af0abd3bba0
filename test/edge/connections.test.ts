/** Connections of Node's server whose clients are slow, greedy or silent. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { guardConnections } from '../../edge/connections.ts'
import { type ServeOptions, type Serving, serveNode } from '../../edge/node.ts'

let serving: Serving
const sockets: Socket[] = []
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  await serving?.close(100)
})

async function serve(fetch: ServeOptions['fetch'], options: Partial<ServeOptions> = {}): Promise<void> {
  serving = await serveNode({ fetch, port: 0, ...options })
}

/** Opens a connection that reads nothing until it is asked to. */
async function connection(): Promise<Socket> {
  const { hostname, port } = new URL(serving.url)
  const socket = connect(Number(port), hostname)
  sockets.push(socket)
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.pause()
  return socket
}

async function rest(socket: Socket, enough: (got: string) => boolean = () => false): Promise<string> {
  let got = ''
  socket.setEncoding('utf8')
  for await (const piece of socket) {
    got += piece
    if (enough(got)) break
  }
  return got
}

const get = (path = '/', more = '') => `GET ${path} HTTP/1.1\r\nhost: x\r\n${more}\r\n`

test('the advertised keep-alive time of idle connections exceeds that of common pools', async () => {
  await serve(() => new Response('ok'))
  const socket = await connection()
  socket.write(get())
  const got = await rest(socket, (text) => text.endsWith('ok'))
  expect(Number(/^keep-alive: timeout=(\d+)/im.exec(got)![1])).toBeGreaterThanOrEqual(95)
})

describe('an idle connection', () => {
  const idle = (seconds: number) => new Promise((resolve) => setTimeout(resolve, seconds * 1000))

  test('may be reused until the announced end and for some time after it, and is closed then', async () => {
    await serve(() => new Response('ok'), { idleSeconds: 1 })
    const socket = await connection()
    let got = ''
    socket.resume().setEncoding('utf8')
    socket.on('data', (text) => {
      got += text
    })
    const closed = once(socket, 'close')
    const answered = async (times: number) => {
      while (got.split('ok').length <= times) await idle(0.01)
    }
    // The announced second, a request that took two seconds to arrive, and one more.
    for (const [times, seconds] of [0, 1, 3].entries()) {
      await idle(seconds)
      socket.write(get())
      await answered(times + 1)
    }
    expect(got.match(/^keep-alive: timeout=1\r$/gim)).toHaveLength(3)
    await closed
    expect(got.match(/HTTP/g)).toHaveLength(3)
  })

  test('is announced by no answer that closes it', async () => {
    await serve(() => new Response('ok'))
    const socket = await connection()
    socket.write(get('/', 'connection: close\r\n'))
    const got = await rest(socket)
    expect(got).toMatch(/^connection: close\r$/im)
    expect(got).not.toMatch(/^keep-alive:/im)
  })
})

test.each([
  ['nothing', ''],
  ['half a head', get().slice(0, -2)],
  ['a request, and half of another', get() + get().slice(0, -2)],
])('a stop does not wait for a connection that has sent %s', async (_, text) => {
  await serve(() => new Response('ok'))
  const socket = await connection()
  socket.resume()
  if (text !== '') socket.write(text)
  await new Promise((resolve) => setTimeout(resolve, 50))
  const closed = once(socket, 'close')
  await serving.close(600_000)
  await closed
})

test('a stop closes idle connections at once, and busy ones after their answer', async () => {
  let finish!: () => void
  const waits = new Promise<void>((resolve) => {
    finish = resolve
  })
  await serve(async (request) => {
    if (request.url.endsWith('/slow')) await waits
    return new Response('ok')
  })
  const [idle, busy] = [await connection(), await connection()]
  idle.write(get())
  busy.write(get('/slow'))
  const [first, second] = [rest(idle), rest(busy)]
  await new Promise((resolve) => setTimeout(resolve, 50))
  const closed = serving.close(60_000)
  expect(await first).toContain('ok')
  finish()
  expect(await second).toContain('ok')
  await closed
})

test('a stop answers connections not yet accepted, and ends although new ones keep arriving', async () => {
  await serve(() => new Response('ok'))
  const { hostname, port } = new URL(serving.url)
  const answers = Array.from({ length: 60 }, async () => {
    const socket = connect(Number(port), hostname)
    sockets.push(socket)
    socket.write(get('/', 'connection: close\r\n'))
    return rest(socket)
  })
  // They are connected for the system in the next tick, and the event loop has not turned.
  await new Promise<void>((resolve) => process.nextTick(resolve))
  const closed = serving.close(60_000)
  for (const answer of await Promise.allSettled(answers))
    expect(answer).toMatchObject({ status: 'fulfilled', value: expect.stringContaining('ok') })
  await closed
  await serve(() => new Response('ok'))
  let stopped = false
  const flood = () => {
    const { hostname, port } = new URL(serving.url)
    const socket = connect(Number(port), hostname)
    socket.on('error', () => {}).on('connect', () => socket.destroy())
    if (!stopped) setImmediate(flood)
  }
  flood()
  await serving.close(60_000)
  stopped = true
})

describe('an unread answer', () => {
  const large = new Uint8Array(64 << 20)
  const cases: [string, () => Response][] = [
    ['whole', () => new Response(large)],
    ['a stream', () => new Response(new Blob([large]).stream())],
  ]
  test.each(cases)('%s: its connection closes', async (_, answer) => {
    await serve(answer, { stallSeconds: 0.2 })
    const socket = await connection()
    socket.write(get())
    // Paused, it sees the end of its connection only by reading: so the server is asked, by a stop that would wait an hour.
    await new Promise((resolve) => setTimeout(resolve, 50))
    await serving.close(3_600_000)
  })

  test('a slowly read answer is not abandoned, nor is a client that waits for its answer', async () => {
    await serve(
      async (request) => {
        if (!request.url.endsWith('/wait')) return new Response(large)
        await new Promise((resolve) => setTimeout(resolve, 700))
        return new Response('late')
      },
      { stallSeconds: 0.2 },
    )
    const waiting = await connection()
    waiting.write(get('/wait', 'connection: close\r\n'))
    const slow = await connection()
    slow.write(get('/', 'connection: close\r\n'))
    let bytes = 0
    for await (const piece of slow) {
      bytes += piece.length
      if (bytes % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    }
    expect(bytes).toBeGreaterThan(large.length)
    expect(await rest(waiting)).toContain('late')
  })
})

test('a connection that is opened ahead of need is kept for its first request', async () => {
  await serve(() => new Response('ok'), { stallSeconds: 0.2 })
  const socket = await connection()
  await new Promise((resolve) => setTimeout(resolve, 500))
  socket.write(get('/', 'connection: close\r\n'))
  expect(await rest(socket)).toMatch(/ok$/)
})

test('what a client sent while the loop was held is read before its connection is judged', async () => {
  const server = createServer()
  guardConnections(server, (_, outgoing) => outgoing.end('ok'), {
    requests: 1,
    stallMs: 60_000,
    idleMs: 60_000,
    drainedBytesPerMinute: 0,
  })
  server.on('connection', (socket: Socket) => socket.setTimeout(200))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  try {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    sockets.push(socket)
    await once(socket, 'connect')
    // Accepted, and silent for half of its time.
    await new Promise((resolve) => setTimeout(resolve, 100))
    // A pass runs in an immediate, after which timers come before sockets.
    await new Promise(setImmediate)
    socket.write(get('/', 'connection: close\r\n'))
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400)
    expect(await rest(socket)).toMatch(/ok$/)
  } finally {
    server.close()
  }
})

test('a request beyond the limit gets a readable 503, and there is room again when one has ended', async () => {
  let finish!: () => void
  const waits = new Promise<void>((resolve) => {
    finish = resolve
  })
  await serve(async () => waits.then(() => new Response('ok')), { requests: 2 })
  const ask = () => fetch(`${serving.url}/`)
  const two = [ask(), ask()]
  await new Promise((resolve) => setTimeout(resolve, 100))
  const refused = await ask()
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1'])
  expect(await refused.json()).toMatchObject({ error: { code: 'busy', type: 'server_error' } })
  finish()
  expect((await Promise.all(two)).map(({ status }) => status)).toEqual([200, 200])
  expect((await ask()).status).toBe(200)
})

test('a connection that pipelines many requests without reading is closed; a few are answered in order', async () => {
  let begun = 0
  await serve(async (request) => {
    begun++
    await new Promise((resolve) => setTimeout(resolve, 20))
    return new Response(new URL(request.url).pathname)
  })
  const few = await connection()
  few.write(Array.from({ length: 8 }, (_, n) => get(`/${n}`)).join(''))
  const got = await rest(few, (text) => text.endsWith('/7'))
  expect(got.match(/\/\d(?=HTTP|$)/g)).toHaveLength(8)
  begun = 0
  const many = await connection()
  many.write(get().repeat(1000))
  await rest(many)
  expect(begun).toBeLessThanOrEqual(16)
})

test('a connection beyond the limit is closed, and idle ones stay open', async () => {
  await serve(() => new Response('ok'), { connections: 2 })
  const [one, two] = [await connection(), await connection()]
  const { hostname, port } = new URL(serving.url)
  const three = connect(Number(port), hostname)
  three.on('error', () => {})
  await once(three.resume(), 'close')
  for (const socket of [one, two]) {
    socket.write(get('/', 'connection: close\r\n'))
    expect(await rest(socket)).toContain('ok')
  }
})

describe('a body in small pieces', () => {
  const text = 'abcdefghij'.repeat(300)
  const chunked = (pieces: string) =>
    `POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n${pieces}`
  const bytewise = (count: number) =>
    Array.from({ length: count }, (_, n) => `1\r\n${text[n % text.length]}\r\n`).join('')

  /** Records what the app received: the number of pieces, and their text. */
  function seen() {
    const pieces: Uint8Array[] = []
    const read = async (request: Request) => {
      for await (const piece of request.body!) pieces.push(piece)
      return new Response('read')
    }
    return { read, pieces, text: () => Buffer.concat(pieces).toString() }
  }

  test('reaches the app in a few large pieces', async () => {
    const { read, pieces, text: whole } = seen()
    await serve(read)
    const socket = await connection()
    socket.write(chunked(`${bytewise(3000)}0\r\n\r\n`))
    expect(await rest(socket)).toContain('read')
    expect(whole()).toBe(text)
    expect(pieces.length).toBeLessThan(30)
  })

  test('arrives complete, with small and large pieces in any order', async () => {
    const { read, text: whole } = seen()
    await serve(read)
    const large = 'L'.repeat(5000)
    const mixed = Array.from({ length: 40 }, (_, n) => (n % 3 === 0 ? large : text.slice(0, 1 + n * 7)))
    const socket = await connection()
    socket.write(chunked(''))
    for (const piece of mixed) {
      socket.write(`${piece.length.toString(16)}\r\n${piece}\r\n`)
      if (piece.length % 2) await new Promise((resolve) => setImmediate(resolve))
    }
    socket.write('0\r\n\r\n')
    expect(await rest(socket)).toContain('read')
    expect(whole()).toBe(mixed.join(''))
  })

  /** The waits that the server has set for 20,000 pieces: those before are free, and each costs a tenth of a millisecond. */
  async function waits(fetch: ServeOptions['fetch'], text: string): Promise<number> {
    await serve(fetch)
    const socket = await connection()
    const timers = vi.spyOn(globalThis, 'setTimeout')
    try {
      socket.write(chunked(`${bytewise(20_000)}0\r\n\r\n`))
      expect(await rest(socket)).toContain(text)
      return timers.mock.calls.reduce((sum, [, ms = 0]) => sum + (ms <= 1000 ? ms : 0), 0)
    } finally {
      timers.mockRestore()
    }
  }

  test('is delayed by its cost once it has had many pieces', async () => {
    const { read, text: whole } = seen()
    expect(await waits(read, 'read')).toBeGreaterThan(100)
    expect(whole()).toHaveLength(20_000)
  })

  test('is delayed equally where it is refused and only drained', async () => {
    expect(await waits(() => new Response('no', { status: 400 }), 'no')).toBeGreaterThan(100)
  })

  test('ends the request when its sender disconnects', async () => {
    let failed: unknown
    const { promise, resolve } = Promise.withResolvers<void>()
    await serve(async (request) => {
      try {
        await request.text()
      } catch (error) {
        failed = error
      }
      resolve()
      return new Response()
    })
    const socket = await connection()
    socket.write(chunked(bytewise(9000)))
    await new Promise((resolve) => setTimeout(resolve, 20))
    socket.destroy()
    await promise
    expect(failed).toBeDefined()
  })
})

test.each(['[::1', 'a/b', 'a b', 'user@x'])('a host name %j is refused as JSON', async (host) => {
  await serve(() => new Response('ok'))
  const socket = await connection()
  socket.write(`GET / HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`)
  const got = await rest(socket)
  expect(got).toMatch(/^HTTP\/1.1 400 /)
  expect(got).toContain('"code":"invalid_url"')
})
