/** The configuration of a server. `createApp` checks it once; every field has a default. */
import { z } from '@hono/zod-openapi'
import { toolFormatNames, wireCodecs } from '../src/index.ts'
import { badConfig } from './errors.ts'
import { hostName, originFault } from './guard/names.ts'

/** The longest time that a host's timer can take, about 24 days: a longer one would fire at once. */
const longestSeconds = Math.floor((2 ** 31 - 1) / 1000)

const whole = (least: number, most = Number.MAX_SAFE_INTEGER) => z.number().int().min(least).max(most)

const key = z.strictObject({
  /** SHA-256 of the key in hex; the key itself is never stored. */
  sha256: z
    .string()
    .regex(/^[0-9a-fA-F]{64}$/, 'must be 64 hex digits, the SHA-256 of a key')
    .transform((text) => text.toLowerCase()),
  /** Requests of one tenant share cached prefixes. Default: each key is a tenant. */
  tenant: z.string().min(1).max(200).optional(),
  /** Limit for this key, in place of `limits.requestsPerMinute`. */
  requestsPerMinute: whole(1).optional(),
  /** Whether the key may read `/metrics`. */
  metrics: z.boolean().default(false),
})

const limits = z.strictObject({
  /** Maximum size of a request body, in bytes. */
  bodyBytes: whole(1).default(1 << 20),
  /** Maximum time for a request body to arrive, in seconds. */
  bodySeconds: z.number().positive().max(longestSeconds).default(30),
  /** Minimum rate of a request body, in bytes per second over 5 seconds. */
  bodyBytesPerSecond: whole(0).default(1024),
  /**
   * Maximum total size of request bodies held at once, in bytes, over all requests whose answers
   * have not begun. Default: 64 MiB, or four times `bodyBytes` if that is more. Bodies up to 64 KiB
   * may use an additional eighth. With several tenants each may hold as much as is left free for
   * the others.
   */
  bodiesBytes: whole(1).optional(),
  /** Maximum number of messages in a conversation. */
  messages: whole(1).default(256),
  /** Maximum number of texts in a request for embeddings, or of documents to rank. */
  texts: whole(1, 8192).default(2048),
  /** Maximum estimated number of tokens in all texts of such a request. */
  textTokens: whole(1).default(300_000),
  /** Maximum length of a prompt, in tokens. Default: the context. */
  promptTokens: whole(1).optional(),
  /** Maximum length of an answer that a request may ask for, in tokens. Default: the context. */
  outputTokens: whole(1).optional(),
  /** Maximum number of answers per request: prompts times `n`. */
  choices: whole(1, 128).default(8),
  /** Maximum number of answers generated at once, over all keys. */
  concurrency: whole(1).default(64),
  /**
   * Maximum number of answers generated at once for one key. Default: with several tenants, each
   * may hold as many as are left free for the others, so a single active tenant gets half of
   * `concurrency`; otherwise there is no limit per key.
   */
  concurrencyPerKey: whole(1).optional(),
  /**
   * Maximum total of estimated tokens, prompts and answers, over all requests in progress. Default:
   * a full context for each of `concurrency`. Shared among tenants like `concurrency`.
   */
  tokens: whole(1).optional(),
  /**
   * How long a request may wait for its share of `concurrency` and `tokens` before it is refused,
   * in seconds.
   */
  waitSeconds: z.number().min(0).max(300).default(2),
  /** Maximum number of requests that wait for admission. */
  waiting: whole(0).default(64),
  /**
   * Maximum number of requests per minute for each key, or for all requests together if there are
   * no keys. POST requests, which ask for answers, and all others, such as `GET /v1/models`, are
   * counted separately; `/metrics` is not counted.
   */
  requestsPerMinute: whole(1).default(60_000),
  /**
   * Maximum size of refused requests per minute, in bytes, counting 16 KiB extra for each; per key,
   * or for all requests together if there are no keys. A quarter of it may arrive in one burst.
   */
  refusedBytesPerMinute: whole(1).default(256 << 20),
  /** Maximum time for an answer to complete, in seconds. */
  requestSeconds: z.number().positive().max(longestSeconds).default(600),
  /** How long a client may leave an answer unread before the answer is cancelled, in seconds. */
  stallSeconds: z.number().positive().max(longestSeconds).default(60),
  /** Maximum number of model files being sent to pages at once. */
  downloads: whole(1).default(32),
})

const host = z.string().transform((text, c) => {
  const name = hostName(text)
  if (name !== undefined) return name
  c.addIssue('must be a host name or an address, such as example.org, without scheme and path')
  return z.NEVER
})

const origin = z.string().superRefine((text, c) => {
  const fault = originFault(text)
  if (fault !== undefined) c.addIssue(fault)
})

const companion = z.strictObject({
  /**
   * Address of the companion: `http://127.0.0.1:8788`, `https://mac.example`. Prompts are sent
   * there; only https encrypts them.
   */
  url: z.string().regex(/^https?:\/\/[^\s/?#@]+(\/[^\s?#]*)?$/, 'must be an address such as https://mac.example:8788'),
  /** Name in headers, logs and metrics. Default: the host of its address. */
  name: z
    .string()
    .regex(/^[\w.:-]{1,64}$/, 'must have 1 to 64 letters, digits, dots, dashes and colons')
    .optional(),
  /** Name by which the companion knows this edge. */
  id: z
    .string()
    .regex(/^[\w.-]{1,64}$/, 'must have 1 to 64 letters, digits, dots and dashes')
    .default('edge'),
  /** Key shared with the companion: 64 hex digits, or any text. */
  key: z.string().min(16, 'must have at least 16 characters, such as 64 random hex digits').max(512),
})

const route = z.strictObject({
  /** Routes that requests may take, besides being answered here alone. */
  ways: z.array(z.enum(['remote', 'relay', 'race'])).default(['remote', 'relay', 'race']),
  /**
   * Route of all requests that may take it, for comparisons. Default: the fastest by measured cost.
   */
  always: z.enum(['local', 'remote', 'relay', 'race']).optional(),
  /** Encoding of transferred K and V. Default: lossless, as this engine holds them. */
  codec: z.enum(wireCodecs).optional(),
  /** Whether a relayed answer continues here as soon as its K and V have arrived. */
  handOver: z.boolean().default(false),
  /** Prompts with fewer uncached tokens are always read here. */
  leastTokens: whole(1).default(32),
})

const longestName = 300

/** The name of a model that is served: one that a request can ask for (`modelName`). */
const served = z.string().min(1).max(longestName).superRefine(refuseControls)

function refuseControls(name: string, c: { addIssue(message: string): void }): void {
  if (/\p{Cc}/u.test(name))
    c.addIssue(`${JSON.stringify(name.slice(0, longestName))} has control characters, and no request can ask for it`)
}

const schema = z.strictObject({
  /** Names of the model; the first is its primary one. Default: the name of its file. */
  models: z.array(served).min(1).optional(),
  /** Other names of models, such as `{"gpt-4o-mini": "qwen3-0.6b"}`: each names a model that is served. */
  aliases: z
    .record(z.string().min(1).max(longestName), z.string().min(1).max(longestName))
    // Here and not at the keys, whose faults Zod keeps to itself.
    .superRefine((all, c) => {
      for (const alias of Object.keys(all)) refuseControls(alias, c)
    })
    .default({}),
  /**
   * `loopback`: only this machine reaches the server; requests must address it by a loopback name,
   * and pages of other origins are refused. `public`: a key is required.
   */
  listen: z.enum(['public', 'loopback']).default('public'),
  keys: z.array(key).max(10_000).default([]),
  /**
   * Host names that the server accepts, ignoring case, port and a trailing dot. Default: any if
   * `listen` is `public`, otherwise the loopback names.
   */
  hosts: z.array(host).optional(),
  /**
   * Origins whose pages may call the server, as browsers send them, with any scheme:
   * `https://example.org`, `app://obsidian.md`.
   */
  origins: z.array(origin).max(1000).default([]),
  /**
   * Whether requests with unknown fields are refused; otherwise these fields are ignored and named
   * in `x-foretoken-ignored`.
   */
  strict: z.boolean().default(false),
  /** Default prefill of a request. */
  prefill: z.enum(['exact', 'predicted', 'refined', 'auto']).default('exact'),
  /** How the model writes calls of tools. Default: as its chat template shows. */
  toolFormat: z.enum(toolFormatNames).optional(),
  /** Default temperature of a request; OpenAI's is 1. */
  temperature: z.number().min(0).max(2).default(1),
  /**
   * How long a stream's headers wait for the first token, in seconds; after that, comments keep the
   * connection alive at this interval.
   */
  keepAliveSeconds: z.number().positive().max(300).default(5),
  limits: limits.prefault({}),
  /** Remote engines that may read prompts for this one: see docs/companion.md. */
  companions: z.array(companion).max(64).default([]),
  route: route.prefault({}),
})

export type ServerConfig = z.input<typeof schema>
type Parsed = z.output<typeof schema>
export type Config = Omit<Parsed, 'limits'> & { readonly limits: Parsed['limits'] & { readonly bodiesBytes: number } }
export type Key = Config['keys'][number]
/** The limits with every default resolved. */
export type Limits = Config['limits']

/**
 * Parses a config as JSON from `where`, a file or a variable. Throws `bad_argument` if it is not an
 * object; the message does not quote the text, which may hold secrets.
 */
export function parsedConfig(text: string, where: string): ServerConfig {
  try {
    const config: unknown = JSON.parse(text)
    if (typeof config === 'object' && config !== null && !Array.isArray(config)) return config as ServerConfig
  } catch {
    // Reported below.
  }
  throw badConfig(`${where} is not a JSON object; it may have keys, origins, limits and other fields`)
}

/** Returns the config with its defaults. Throws `bad_argument` if it is invalid. */
export function configOf(config: ServerConfig = {}): Config {
  // Zod drops this key of a record silently.
  if (Object.hasOwn(config.aliases ?? {}, '__proto__'))
    throw badConfig("the server's config is wrong at aliases: __proto__ cannot be the name of a model")
  const { data, error } = schema.safeParse(config)
  if (!data) {
    const { path, message } = error.issues[0]!
    throw badConfig(`the server's config is wrong at ${path.join('.') || 'its top'}: ${message}`)
  }
  if (data.listen === 'public' && data.keys.length === 0)
    throw badConfig('a public server needs keys: set config.keys, or set listen to loopback')
  const { bodyBytes, bodiesBytes = Math.max(64 << 20, 4 * bodyBytes) } = data.limits
  if (bodiesBytes < 4 * bodyBytes)
    throw badConfig(
      `limits.bodiesBytes is ${bodiesBytes}; it must hold at least four bodies of limits.bodyBytes, ${4 * bodyBytes}`,
    )
  return { ...data, limits: { ...data.limits, bodiesBytes } }
}

/** Returns true if the keys belong to more than one tenant. */
export function severalTenants({ keys }: Pick<Config, 'keys'>): boolean {
  return new Set(keys.map(({ sha256, tenant }) => tenant ?? sha256)).size > 1
}
