/** What a companion may be told, beside its flags: the edges that it works for. */
import { z } from '@hono/zod-openapi'
import { badConfig } from '../edge/errors.ts'
import type { ServerConfig } from '../edge/index.ts'
import { keyBytes } from '../src/index.ts'
import { type CompanionLimits, defaultLimits } from './app.ts'
import type { Edge } from './guard.ts'

const edge = z.strictObject({
  /** As the edge names itself; fairness and logs are by it. */
  id: z.string().regex(/^[\w.-]{1,64}$/, 'must have 1 to 64 letters, digits, dots and dashes'),
  /** Shared with the edge: 64 hex digits, or a text. */
  key: z.string().min(16, 'must have at least 16 characters, such as 64 random hex digits').max(512),
})

const whole = z.number().int().min(1)

const schema = z.strictObject({
  edges: z.array(edge).max(10_000).default([]),
  limits: z
    .strictObject({
      /** Requests of edges that run at once. */
      running: whole.default(defaultLimits.running),
      /** Requests of one edge that may wait; more are refused. */
      waitingPerEdge: whole.default(defaultLimits.waitingPerEdge),
      /** Largest body of a request. */
      bodyBytes: whole.default(defaultLimits.bodyBytes),
      /** Bodies that are being read at once, of all edges, in bytes. */
      bodiesBytes: whole.default(defaultLimits.bodiesBytes),
      /** Requests of one edge a minute. */
      requestsPerMinute: whole.default(defaultLimits.requestsPerMinute),
      /** Bytes of refused requests of one edge a minute, 16 KiB for each request included. */
      refusedBytesPerMinute: whole.default(defaultLimits.refusedBytesPerMinute),
      /** How long an edge may leave a stream unread before it is given up. */
      stallSeconds: z.number().positive().max(3600).default(defaultLimits.stallSeconds),
    })
    .prefault({}),
  /** Of the OpenAI endpoint beside: see edge/config.ts. Without it there is none, unless only this machine is listened to. */
  openai: z.record(z.string(), z.unknown()).optional(),
})

export interface CompanionConfig {
  readonly edges: readonly Edge[]
  readonly limits: CompanionLimits
  readonly openai: ServerConfig | undefined
}

/** `key`: of one edge more, which is named `edge`. Throws `bad_argument`; no key is told. */
export function companionConfigOf(given: unknown, key?: string): CompanionConfig {
  const told = checked(given)
  const { edges, limits, openai } =
    key === undefined ? told : checked({ ...told, edges: [...told.edges, { id: 'edge', key }] })
  const twice = edges.find(({ id }, at) => edges.findIndex((other) => other.id === id) !== at)
  if (twice) throw badConfig(`the companion's config has two edges ${twice.id}; each has a name of its own`)
  return {
    edges: edges.map(({ id, key }) => ({ id, key: keyBytes(key) })),
    limits,
    openai: openai as ServerConfig | undefined,
  }
}

function checked(given: unknown): z.output<typeof schema> {
  const { data, error } = schema.safeParse(given)
  if (data) return data
  const { path, message } = error.issues[0]!
  throw badConfig(`the companion's config is wrong at ${path.join('.') || 'its top'}: ${message}`)
}
