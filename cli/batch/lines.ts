/**
 * Parses one line of a batch's input: a plain prompt with options, or a request of OpenAI's batch
 * API (platform.openai.com/docs/api-reference/batch).
 */
import { z } from 'zod'
import {
  asForetokenError,
  ForetokenError,
  type GenerateRequest,
  guideNames,
  guideOf,
  type Message,
  parseJson,
  type Seed,
  seedIn,
} from '../../node/index.ts'

export interface BatchLine {
  /** The `custom_id` of an OpenAI request, or the `id` of a plain one. */
  readonly id: string | undefined
  readonly form: 'plain' | 'chat' | 'completion'
  readonly request: GenerateRequest
}

/**
 * A line that can't be run, with its id if that could be parsed, so that the error can be matched.
 */
export class LineError extends ForetokenError {
  readonly id: string | undefined
  readonly form: BatchLine['form']

  constructor(message: string, form: BatchLine['form'], id?: string) {
    super('bad_argument', message)
    this.form = form
    this.id = id
  }
}

/** Text, or an array of text parts as OpenAI's clients send them, which are joined. */
const content = z.union([
  z.string(),
  z.array(z.object({ type: z.literal('text'), text: z.string() })).transform((parts) => {
    return parts.map(({ text }) => text).join('')
  }),
])
const messages = z
  .array(z.object({ role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']), content }))
  .min(1)
  .transform((all) =>
    all.map(({ role, content }): Message => ({ role: role === 'developer' ? 'system' : role, content })),
  )
const ids = z.array(z.number().int().min(0)).min(1)
const limit = z.number().int().min(1)
const stop = z.union([z.string().transform((one) => [one]), z.array(z.string())])

const seed = z
  .custom<number | string>((value) => seedIn(value) !== undefined, 'must be a whole number of 64 bits')
  .transform((value) => seedIn(value)!)

/** Accepts null as absent, because some clients send it. */
const optional = <T extends z.ZodType>(type: T) => type.nullish().transform((value) => value ?? undefined)

const sampling = {
  temperature: optional(z.number()),
  top_p: optional(z.number()),
  seed: optional(seed),
  stop: optional(stop),
  presence_penalty: optional(z.number()),
  frequency_penalty: optional(z.number()),
  logit_bias: optional(z.record(z.string().regex(/^\d+$/), z.number())),
  // Read by `guideOf`, which checks them.
  ...Object.fromEntries(
    guideNames.filter((name) => name !== 'text_format').map((name) => [name, z.unknown().optional()]),
  ),
}

const prefill = optional(z.enum(['exact', 'predicted', 'refined', 'auto']))
/** foretoken's addition to OpenAI's fields. */
const foretoken = optional(
  z.strictObject({
    prefill,
    // Lines have no log-probabilities, raw or not.
    raw_logprobs: optional(z.boolean()),
  }),
)

const plain = z
  .strictObject({
    id: optional(z.string()),
    prompt: z.union([z.string(), ids]).optional(),
    messages: messages.optional(),
    raw: z.boolean().optional(),
    max_tokens: optional(limit),
    top_k: optional(z.number().int()),
    min_p: optional(z.number()),
    repetition_penalty: optional(z.number()),
    ignore_eos: z.boolean().optional(),
    prefill,
    ...sampling,
  })
  .refine(({ prompt, messages }) => (prompt === undefined) !== (messages === undefined), {
    message: 'needs either prompt or messages',
  })

/** Fields that have no effect. */
const anything = z.unknown().optional()
const harmless = {
  model: anything,
  user: anything,
  metadata: anything,
  store: anything,
  service_tier: anything,
  safety_identifier: anything,
  prompt_cache_key: anything,
  parallel_tool_calls: anything,
  n: optional(z.literal(1)),
  stream: optional(z.literal(false)),
  stream_options: anything,
}

const chat = z.strictObject({
  ...harmless,
  foretoken,
  ...sampling,
  messages,
  max_tokens: optional(limit),
  max_completion_tokens: optional(limit),
  logprobs: optional(z.literal(false)),
  tools: optional(z.array(z.never())),
  tool_choice: optional(z.enum(['none', 'auto'])),
})

const completion = z.strictObject({
  ...harmless,
  foretoken,
  ...sampling,
  prompt: z.union([z.string(), ids]),
  max_tokens: optional(limit),
  best_of: optional(z.literal(1)),
  echo: optional(z.literal(false)),
  suffix: optional(z.literal('')),
  logprobs: z.null().optional(),
})

const envelope = z.object({
  custom_id: z.string().min(1),
  method: z.literal('POST'),
  url: z.enum(['/v1/chat/completions', '/v1/completions']),
  body: z.record(z.string(), z.unknown()),
})

/**
 * Parses a line; its options override `defaults`, which come from the flags. Throws `LineError`.
 */
export function parseLine(bytes: Uint8Array, defaults: Partial<GenerateRequest>): BatchLine {
  const row = objectOf(bytes)
  const isEnvelope = 'custom_id' in row || 'url' in row || 'body' in row
  if (!isEnvelope) {
    const { id, prompt, messages, ...options } = checked(plain, row, 'plain', textOf(row.id))
    return { id, form: 'plain', request: requestOf(defaults, prompt ?? messages!, withGuide(options, 'plain', id)) }
  }
  const named = textOf(row.custom_id)
  const formGuess = row.url === '/v1/completions' ? 'completion' : 'chat'
  const { custom_id: id, url, body } = checked(envelope, row, formGuess, named)
  if (url === '/v1/completions') {
    const { prompt, ...options } = checked(completion, body, 'completion', id)
    return {
      id,
      form: 'completion',
      request: { ...requestOf(defaults, prompt, withGuide(options, 'completion', id)), raw: true },
    }
  }
  const { messages, max_completion_tokens, ...options } = checked(chat, body, 'chat', id)
  const most = { max_tokens: max_completion_tokens ?? options.max_tokens }
  return {
    id,
    form: 'chat',
    request: { ...requestOf(defaults, messages, { ...withGuide(options, 'chat', id), ...most }), raw: false },
  }
}

/** Adds the guide that a row's fields ask for. Throws `LineError`. */
function withGuide<T extends object>(
  options: T,
  form: BatchLine['form'],
  id: string | undefined,
): T & Pick<Options, 'guide'> {
  try {
    return { ...options, guide: guideOf(options) }
  } catch (error) {
    throw new LineError(asForetokenError(error).message, form, id)
  }
}

interface Options {
  readonly guide?: GenerateRequest['guide']
  readonly raw?: boolean | undefined
  readonly max_tokens?: number | undefined
  readonly temperature?: number | undefined
  readonly top_p?: number | undefined
  readonly top_k?: number | undefined
  readonly min_p?: number | undefined
  readonly seed?: Seed | undefined
  readonly stop?: readonly string[] | undefined
  readonly presence_penalty?: number | undefined
  readonly frequency_penalty?: number | undefined
  readonly repetition_penalty?: number | undefined
  readonly logit_bias?: Readonly<Record<string, number>> | undefined
  readonly ignore_eos?: boolean | undefined
  readonly prefill?: GenerateRequest['prefill']
  readonly foretoken?: { readonly prefill?: GenerateRequest['prefill'] } | undefined
}

function requestOf(
  defaults: Partial<GenerateRequest>,
  prompt: GenerateRequest['prompt'],
  options: Options,
): GenerateRequest {
  const fields = {
    raw: options.raw,
    maxTokens: options.max_tokens,
    temperature: options.temperature,
    topP: options.top_p,
    topK: options.top_k,
    minP: options.min_p,
    seed: options.seed,
    stop: options.stop,
    presencePenalty: options.presence_penalty,
    frequencyPenalty: options.frequency_penalty,
    repetitionPenalty: options.repetition_penalty,
    logitBias: options.logit_bias,
    ignoreEos: options.ignore_eos,
    guide: options.guide,
    prefill: options.prefill ?? options.foretoken?.prefill,
  }
  const present = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
  return { ...defaults, ...present, prompt }
}

function objectOf(bytes: Uint8Array): Record<string, unknown> {
  let row: unknown
  try {
    row = parseJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    const why = cause instanceof SyntaxError ? cause.message : 'it is not UTF-8'
    throw new LineError(`not JSON: ${why}`, 'plain')
  }
  if (typeof row !== 'object' || row === null || Array.isArray(row)) throw new LineError('not a JSON object', 'plain')
  return row as Record<string, unknown>
}

function checked<T>(type: z.ZodType<T>, row: unknown, form: BatchLine['form'], id: string | undefined): T {
  const result = type.safeParse(row)
  if (result.success) return result.data
  const reasons = result.error.issues.slice(0, 3).map(({ path, message }) => {
    return path.length > 0 ? `${path.map(String).join('.')}: ${message}` : message
  })
  throw new LineError(reasons.join('; '), form, id)
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
