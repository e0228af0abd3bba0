/** Runs a companion and an edge in one process, with connections that fail on demand. */
import { createCompanion } from '../../companion/app.ts'
import {
  type Deciding,
  type Engine,
  type Fetch,
  RemoteCompanion,
  Routed,
  type RoutedOptions,
  StaticCompanions,
  type Way,
} from '../../src/index.ts'

export const pairKey = new Uint8Array(32).fill(3)

/** Returns the service over an engine, called without a network. */
export function companionOf(engine: Engine): Fetch {
  const app = createCompanion({ engine, edges: [{ id: 'edge', key: pairKey }], config: { listen: 'loopback' } })
  return async (input, init) => {
    const { signal } = init
    const request = new Request(input, { ...init, ...(init.body && { duplex: 'half' }) } as RequestInit)
    return abortable(await app.fetch(request), signal ?? undefined)
  }
}

/** Aborts the body on a signal, as a network does. */
function abortable(response: Response, signal: AbortSignal | undefined): Response {
  if (!response.body || !signal) return response
  const reader = response.body.getReader()
  const gone = () => void reader.cancel().catch(() => {})
  signal.addEventListener('abort', gone)
  const body = new ReadableStream<Uint8Array>({
    async pull(out) {
      const { done, value } = await reader.read()
      if (signal.aborted) out.error(signal.reason)
      else if (done) out.close()
      else out.enqueue(value)
    },
    cancel: () => reader.cancel(),
  })
  return new Response(body, { status: response.status, headers: response.headers })
}

export interface Fault {
  readonly kind: 'cut' | 'end' | 'flip' | 'stall' | 'reset' | 'refuse' | 'redirect' | 'error' | 'html'
  /**
   * Byte of the answer at which the failure happens; for `reset`, milliseconds after the request.
   */
  readonly at: number
}

/** Makes answers fail at a byte or at a time. */
export function faulty(fetch: Fetch, fault: () => Fault | undefined): Fetch {
  return async (input, init) => {
    const told = fault()
    if (!told) return fetch(input, init)
    const { kind, at } = told
    if (kind === 'refuse') throw new TypeError('connection refused')
    if (kind === 'redirect') return new Response(null, { status: 302, headers: { location: 'http://elsewhere.test/' } })
    if (kind === 'error') return Response.json({ error: { message: 'no' } }, { status: 500 })
    if (kind === 'html') return new Response('<html>'.repeat(2000))
    if (kind === 'reset') return resetting(fetch, input, init, at)
    const response = await fetch(input, init)
    const reader = response.body!.getReader()
    let seen = 0
    const body = new ReadableStream<Uint8Array>({
      async pull(out) {
        const { done, value } = await reader.read()
        if (done) return out.close()
        const within = at - seen
        seen += value.length
        if (within < 0 || within >= value.length) return out.enqueue(value)
        if (kind === 'flip') {
          const changed = value.slice()
          changed[within]! ^= 1 << (at % 8)
          return out.enqueue(changed)
        }
        if (within > 0) out.enqueue(value.slice(0, within))
        void reader.cancel().catch(() => {})
        if (kind === 'cut') out.error(new TypeError('connection reset'))
        else if (kind === 'end') out.close()
        else await new Promise((_, reject) => init.signal?.addEventListener('abort', () => reject(init.signal!.reason)))
      },
      cancel: () => reader.cancel(),
    })
    return new Response(body, { status: response.status })
  }
}

/** Resets the connection after `ms`, whatever its state. */
async function resetting(fetch: Fetch, input: string, init: RequestInit, ms: number): Promise<Response> {
  const control = new AbortController()
  const timer = setTimeout(() => control.abort(), ms)
  const signal = init.signal ? AbortSignal.any([init.signal, control.signal]) : control.signal
  const reset = new TypeError('connection reset')
  const cut = new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(reset), { once: true }))
  cut.catch(() => {})
  const response = await Promise.race([fetch(input, { ...init, signal }), cut])
  const reader = response.body!.getReader()
  const body = new ReadableStream<Uint8Array>({
    async pull(out) {
      const { done, value } = await Promise.race([reader.read(), cut])
      if (!done) return out.enqueue(value)
      clearTimeout(timer)
      out.close()
    },
    cancel: () => reader.cancel(),
  })
  return new Response(body, { status: response.status })
}

export const patience = { firstMs: 60_000, stallMs: 60_000 }

export function companionsOf(fetch: Fetch, wait = patience) {
  const client = new RemoteCompanion({ url: 'http://companion.test', id: 'edge', key: pairKey }, fetch, wait)
  return new StaticCompanions([{ name: 'mac', client }])
}

/** Returns an edge whose requests take one route. */
export function going(
  way: Way,
  engine: Engine,
  fetch: Fetch,
  options: Partial<RoutedOptions> = {},
  wait = patience,
  predictedMs = 1e9,
) {
  const companions = companionsOf(fetch, wait)
  const [companion] = companions.list
  const reports: Parameters<Deciding['report']>[1][] = []
  const router: Deciding = {
    decide: (request) => {
      const taken = request.ways.includes(way as never) ? way : 'local'
      return {
        way: taken,
        companion: taken === 'local' ? undefined : companion,
        predictedMs,
        considered: {},
        request,
      }
    },
    report: (_, outcome) => reports.push(outcome),
  }
  return { routed: new Routed(engine, { companions, router, ...options }), reports, companion: companion! }
}
