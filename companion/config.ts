/** Reads the config of a companion: its edges, its limits, and its OpenAI endpoint. */
import { z } from '@hono/zod-openapi'
import { badConfig } from '../edge/errors.ts'
import type { ServerConfig } from '../edge/index.ts'
import { keyBytes } from '../src/index.ts'
import { type CompanionLimits, defaultLimits } from './app.ts'
import type { Edge } from './guard.ts'

const edge = z.strictObject({
  /** Name of the edge, for fairness and logs. */
  id: z.string().regex(/^[\w.-]{1,64}$/, 'must have 1 to 64 letters, digits, dots and dashes'),
  /** Key shared with the edge: 64 hex digits, or a text. */
  key: z.string().min(16, 'must have at least 16 characters, such as 64 random hex digits').max(512),
})

const whole = z.number().int().min(1)

const schema = z.strictObject({
  edges: z.array(edge).max(10_000).default([]),
  limits: z
    .strictObject({
      /** Maximum number of requests that run at once. */
      running: whole.default(defaultLimits.running),
      /** Maximum number of requests of one edge that wait; more are refused. */
      waitingPerEdge: whole.default(defaultLimits.waitingPerEdge),
      /** Maximum size of a request body, in bytes. */
      bodyBytes: whole.default(defaultLimits.bodyBytes),
      /** Maximum size of all bodies being read, of all edges, in bytes. */
      bodiesBytes: whole.default(defaultLimits.bodiesBytes),
      /** Requests of one edge per minute. */
      requestsPerMinute: whole.default(defaultLimits.requestsPerMinute),
      /** Bytes of refused requests of one edge per minute, including 16 KiB for each request. */
      refusedBytesPerMinute: whole.default(defaultLimits.refusedBytesPerMinute),
      /** Time that an edge may leave a stream unread before it is given up. */
      stallSeconds: z.number().positive().max(3600).default(defaultLimits.stallSeconds),
    })
    .prefault({}),
  /**
   * Config of the OpenAI endpoint, see edge/config.ts. Without it there is one only if the
   * companion listens at a loopback address.
   */
  openai: z.record(z.string(), z.unknown()).optional(),
})

/** A checked config. */
export interface CompanionConfig {
  readonly edges: readonly Edge[]
  readonly limits: CompanionLimits
  readonly openai: ServerConfig | undefined
}

/**
 * Checks a config. `key` adds an edge of that key, named `edge`. Throws `bad_argument`, with no key
 * in the message.
 */
export function companionConfigOf(input: unknown, key?: string): CompanionConfig {
  const config = checked(input)
  const { edges, limits, openai } =
    key === undefined ? config : checked({ ...config, edges: [...config.edges, { id: 'edge', key }] })
  const twice = edges.find(({ id }, index) => edges.findIndex((other) => other.id === id) !== index)
  if (twice) throw badConfig(`the companion's config has two edges ${twice.id}; give each its own name`)
  return {
    edges: edges.map(({ id, key }) => ({ id, key: keyBytes(key) })),
    limits,
    openai: openai as ServerConfig | undefined,
  }
}

function checked(input: unknown): z.output<typeof schema> {
  const { data, error } = schema.safeParse(input)
  if (data) return data
  const [issue] = error.issues
  const where = issue?.path.join('.') || 'its top'
  throw badConfig(`the companion's config is wrong at ${where}: ${issue?.message ?? error.message}`)
}
