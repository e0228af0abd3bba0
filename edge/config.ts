/** What a server may be told. Checked once, by `createApp`; every field has a default. */
import { z } from '@hono/zod-openapi'
import { wireCodecs } from '../src/index.ts'
import { badConfig } from './errors.ts'
import { hostName, originFault } from './guard/names.ts'

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
  /** Maximum size of a request body, in bytes. */
  bodyBytes: whole(1).default(1 << 20),
  /** Maximum time until a request body has arrived. */
  bodySeconds: z.number().positive().default(30),
  /** Minimum pace of a request body, in bytes per second over 5 seconds. */
  bodyBytesPerSecond: whole(0).default(1024),
  /**
   * Bytes of request bodies that may be held at once, by all requests whose answers have not begun. Default: 64 MiB, or four bodies of
   * `bodyBytes` where that is more; bodies up to 64 KiB may take an eighth beside it. With several tenants each may hold as much as is left free for the others.
   */
  bodiesBytes: whole(1).optional(),
  /** Maximum number of messages in a conversation. */
  messages: whole(1).default(256),
  /** Maximum length of a prompt, in tokens. Default: the context. */
  promptTokens: whole(1).optional(),
  /** Maximum length of an answer that may be asked for, in tokens. Default: the context. */
  outputTokens: whole(1).optional(),
  /** Maximum number of answers of one request: prompts times `n`. */
  choices: whole(1, 128).default(8),
  /** Maximum number of answers being made at once, for all keys. */
  concurrency: whole(1).default(64),
  /**
   * Maximum number of answers being made at once for one key. Default: with several tenants, each may hold as many as are left free
   * for the others, so that one who is alone holds half of `concurrency`; else no limit of its own.
   */
  concurrencyPerKey: whole(1).optional(),
  /**
   * Estimated tokens, prompts and answers, of all requests that are being answered. Default: a full context for each of `concurrency`.
   * Shared among tenants as `concurrency` is.
   */
  tokens: whole(1).optional(),
  /** How long a request may wait for its share of `concurrency` and `tokens` before it is refused. */
  waitSeconds: z.number().min(0).max(300).default(2),
  /** Maximum number of requests that wait so. */
  waiting: whole(0).default(64),
  /**
   * Maximum number of requests per minute for each key, or for all requests together where there are no keys. POST requests, for
   * answers, and all others, such as `GET /v1/models`, are counted apart; `/metrics` is not counted.
   */
  requestsPerMinute: whole(1).default(60_000),
  /**
   * Bytes per minute of requests that had to be refused, 16 KiB for each request included; for each key, or for all requests together
   * where there are no keys. A quarter of it may come at once.
   */
  refusedBytesPerMinute: whole(1).default(256 << 20),
  /** Maximum time until an answer is complete. */
  requestSeconds: z.number().positive().default(600),
  /** How long a client may leave an answer unread before it is given up. */
  stallSeconds: z.number().positive().default(60),
  /** Maximum number of model files being sent to pages at once. */
  downloads: whole(1).default(32),
})

const host = z.string().transform((text, c) => {
  const name = hostName(text)
  if (name !== undefined) return name
  c.addIssue('must be the name or the address of a host, such as example.org; list each, without scheme and path')
  return z.NEVER
})

const origin = z.string().superRefine((text, c) => {
  const fault = originFault(text)
  if (fault !== undefined) c.addIssue(fault)
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
  /**
   * Host names that the server answers to, compared as names: neither case, a port nor a dot at the end counts. Default: any where `listen`
   * is `public`, else the loopback names.
   */
  hosts: z.array(host).optional(),
  /** Origins whose pages may call the server, as browsers send them: of any scheme, such as `https://example.org` and `app://obsidian.md`. */
  origins: z.array(origin).max(1000).default([]),
  /** Requests with fields that this server does not know are refused; else these are ignored, and named in `x-foretoken-ignored`. */
  strict: z.boolean().default(false),
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
type Parsed = z.output<typeof schema>
export type Config = Omit<Parsed, 'limits'> & { readonly limits: Parsed['limits'] & { readonly bodiesBytes: number } }
export type Key = Config['keys'][number]
/** With every default decided. */
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
  const { bodyBytes, bodiesBytes = Math.max(64 << 20, 4 * bodyBytes) } = data.limits
  if (bodiesBytes < 4 * bodyBytes)
    throw badConfig(
      `limits.bodiesBytes is ${bodiesBytes}; it must have room for four bodies of limits.bodyBytes, ${4 * bodyBytes}`,
    )
  return { ...data, limits: { ...data.limits, bodiesBytes } }
}

/** Whether there are tenants to keep apart, beside one that may have everything. */
export function severalTenants({ keys }: Pick<Config, 'keys'>): boolean {
  return new Set(keys.map(({ sha256, tenant }) => tenant ?? sha256)).size > 1
}
