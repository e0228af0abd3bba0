/** What a server may be told. Checked once, by `createApp`; every field has a default. */
import { z } from '@hono/zod-openapi'
import { wireCodecs } from '../src/index.ts'
import { badConfig } from './errors.ts'

const whole = (least: number, most = Number.MAX_SAFE_INTEGER) => z.number().int().min(least).max(most)

const key = z.strictObject({
  /** SHA-256 of the key, hex: the key itself is nowhere. */
  sha256: z
    .string()
    .regex(/^[0-9a-fA-F]{64}$/, 'must be 64 hex digits, the SHA-256 of a key')
    .transform((text) => text.toLowerCase()),
  /** Requests of one tenant share cached prefixes. Default: each key is a tenant. */
  tenant: z.string().min(1).max(200).optional(),
  /** Of this key, in place of `limits.requestsPerMinute`. */
  requestsPerMinute: whole(1).optional(),
  /** May read `/metrics`. */
  metrics: z.boolean().default(false),
})

const limits = z.strictObject({
  /** Of a request. */
  bodyBytes: whole(1).default(1 << 20),
  /** Until a request's body has arrived. */
  bodySeconds: z.number().positive().default(30),
  /** In one conversation. */
  messages: whole(1).default(256),
  /** Longest prompt. Default: the context. */
  promptTokens: whole(1).optional(),
  /** Longest answer that may be asked for. Default: the context. */
  outputTokens: whole(1).optional(),
  /** Answers of one request: prompts x `n`. */
  choices: whole(1, 128).default(8),
  /** Answers being made at once, of all keys. */
  concurrency: whole(1).default(64),
  /** Answers being made at once, of one key. Default: no limit of its own. */
  concurrencyPerKey: whole(1).optional(),
  /** Of each key; of all requests together where there are no keys. Default: none. */
  requestsPerMinute: whole(1).optional(),
  /** Until an answer is complete. */
  requestSeconds: z.number().positive().default(600),
  /** How long a client may leave a stream unread before it is given up. */
  stallSeconds: z.number().positive().default(60),
})

const companion = z.strictObject({
  /** Where it listens: `http://127.0.0.1:8788`, `https://mac.example`. Prompts are sent there; only https hides them. */
  url: z.string().regex(/^https?:\/\/[^\s/?#@]+(\/[^\s?#]*)?$/, 'must be an address such as https://mac.example:8788'),
  /** In headers, logs and metrics. Default: the host of its address. */
  name: z
    .string()
    .regex(/^[\w.:-]{1,64}$/, 'must have 1 to 64 letters, digits, dots, dashes and colons')
    .optional(),
  /** By which it knows this edge. */
  id: z
    .string()
    .regex(/^[\w.-]{1,64}$/, 'must have 1 to 64 letters, digits, dots and dashes')
    .default('edge'),
  /** Shared with it: 64 hex digits, or a text. */
  key: z.string().min(16, 'must have at least 16 characters, such as 64 random hex digits').max(512),
})

const route = z.strictObject({
  /** Ways that requests may take, beside being answered here alone. */
  ways: z.array(z.enum(['remote', 'relay', 'race'])).default(['remote', 'relay', 'race']),
  /** The way of all requests that may take it: to compare with. Default: the quickest by measured cost. */
  always: z.enum(['local', 'remote', 'relay', 'race']).optional(),
  /** How K and V are sent. Default: as this engine holds them, without loss. */
  codec: z.enum(wireCodecs).optional(),
  /** A relayed answer goes on here as soon as its K and V have come. */
  handOver: z.boolean().default(false),
  /** Prompts with fewer tokens that are not cached are read here. */
  leastTokens: whole(1).default(32),
})

const schema = z.strictObject({
  /** Names that the model answers to, the first is its own. Default: the name of its file. */
  models: z.array(z.string().min(1).max(300)).min(1).optional(),
  /**
   * `loopback`: only this machine reaches the server; it must be addressed by a loopback name, and pages of other origins are refused.
   * `public`: a key is required.
   */
  listen: z.enum(['public', 'loopback']).default('public'),
  keys: z.array(key).max(10_000).default([]),
  /** Host names (without port) that the server answers to. Default: any where `listen` is `public`, else the loopback names. */
  hosts: z.array(z.string().min(1)).optional(),
  /** Origins whose pages may call the server. */
  origins: z
    .array(z.string().regex(/^https?:\/\/[^/]+$/, 'must be an origin, such as https://example.org'))
    .default([]),
  /** Where a request does not say. */
  prefill: z.enum(['exact', 'predicted', 'refined', 'auto']).default('exact'),
  /** Where a request does not say; OpenAI's is 1. */
  temperature: z.number().min(0).max(2).default(1),
  /** A stream's headers wait so long for its first token, then comments keep the connection open at this pace. */
  keepAliveSeconds: z.number().positive().max(300).default(5),
  limits: limits.prefault({}),
  /** Engines elsewhere that may read prompts for this one: see docs/companion.md. */
  companions: z.array(companion).max(64).default([]),
  route: route.prefault({}),
})

export type ServerConfig = z.input<typeof schema>
export type Config = z.output<typeof schema>
export type Key = Config['keys'][number]
export type Limits = Config['limits']

/** A config as JSON, from a file or a variable `where`. Throws `bad_argument` for what is no object; the text is not told, it may hold secrets. */
export function parsedConfig(text: string, where: string): ServerConfig {
  try {
    const config: unknown = JSON.parse(text)
    if (typeof config === 'object' && config !== null && !Array.isArray(config)) return config as ServerConfig
  } catch {
    // Told below.
  }
  throw badConfig(`${where} is no JSON object; it may have keys, origins, limits and others`)
}

/** Throws `bad_argument`. */
export function configOf(given: ServerConfig = {}): Config {
  const { data, error } = schema.safeParse(given)
  if (!data) {
    const { path, message } = error.issues[0]!
    throw badConfig(`the server's config is wrong at ${path.join('.') || 'its top'}: ${message}`)
  }
  if (data.listen === 'public' && data.keys.length === 0)
    throw badConfig('a server that others can reach needs keys: give config.keys, or set listen to loopback')
  return data
}
