/**
 * Generates requests as careless clients write them: valid ones with nulls anywhere, aliases of
 * other servers, unknown extras and values at their limits, and some arbitrary ones. A nullable
 * field is never the reason for a refusal, and nothing causes a server error.
 */

import { aliases, type Form, isOllama } from '../../edge/aliases.ts'
import { openApi } from '../../edge/openapi.ts'
import type { App } from '../../edge/server.ts'
import { ask } from '../helpers/ask.ts'
import fc from '../helpers/properties.ts'

export interface FuzzReport {
  readonly cases: number
  /** Number of answers by status. */
  readonly statuses: Readonly<Record<number, number>>
}

interface Case {
  readonly form: FuzzedForm
  readonly body: Readonly<Record<string, unknown>>
  /** Nullable fields set to null, whose absence changes nothing. */
  readonly nulls: readonly string[]
  /** True if the request is valid and must be answered. */
  readonly sound: boolean
}

/** A kind of request: its route, the name of its schema, and a request for a short answer. */
interface Route {
  readonly path: string
  readonly schema: string
  readonly least: Readonly<Record<string, unknown>>
  /** The field that holds a conversation. */
  readonly talk?: string
  /** What the end of a stream has. */
  readonly end: string
}

const hello = [{ role: 'user', content: 'x' }]

const routes = {
  chat: {
    path: '/v1/chat/completions',
    schema: 'ChatCompletionRequest',
    least: { model: 'tiny', messages: hello, max_tokens: 2 },
    talk: 'messages',
    end: '[DONE]',
  },
  completion: {
    path: '/v1/completions',
    schema: 'CompletionRequest',
    least: { model: 'tiny', prompt: 'x', max_tokens: 2 },
    end: '[DONE]',
  },
  response: {
    path: '/v1/responses',
    schema: 'ResponseRequest',
    least: { model: 'tiny', input: 'x', max_output_tokens: 2 },
    talk: 'input',
    end: 'event: response.',
  },
  embedding: {
    path: '/v1/embeddings',
    schema: 'EmbeddingRequest',
    least: { model: 'tiny', input: 'x', pooling: 'last' },
    // It never streams: the end of its answer.
    end: '"usage"',
  },
  message: {
    path: '/v1/messages',
    schema: 'AnthropicMessagesRequest',
    least: { model: 'tiny', messages: hello, max_tokens: 2 },
    talk: 'messages',
    end: 'event: message_stop',
  },
  ollamaChat: {
    path: '/api/chat',
    schema: 'OllamaChatRequest',
    least: { model: 'tiny', messages: hello, options: { num_predict: 2 } },
    talk: 'messages',
    end: '"done":true',
  },
  ollamaText: {
    path: '/api/generate',
    schema: 'OllamaGenerateRequest',
    least: { model: 'tiny', prompt: 'x', options: { num_predict: 2 } },
    end: '"done":true',
  },
} satisfies Partial<Record<Form, Route>>

type FuzzedForm = keyof typeof routes
const forms = Object.keys(routes) as FuzzedForm[]
const routeOf = (form: FuzzedForm): Route => routes[form]

/**
 * Values that a field accepts, including its limits; `stop`, `n` and others have tests of their
 * own.
 */
const values: Record<string, fc.Arbitrary<unknown>> = {
  temperature: fc.constantFrom(0, 0.7, 1, 2),
  top_p: fc.constantFrom(0, 0.5, 1),
  top_k: fc.constantFrom(-1, 0, 1, 40, 2 ** 31 - 1, 2 ** 60),
  min_p: fc.constantFrom(0, 0.05, 1),
  repetition_penalty: fc.constantFrom(0.5, 1, 1.3, 10),
  repeat_penalty: fc.constantFrom(0.5, 1, 1.3, 10),
  presence_penalty: fc.constantFrom(-2, 0, 2),
  frequency_penalty: fc.constantFrom(-2, 0, 2),
  seed: fc.oneof(fc.maxSafeInteger(), fc.constantFrom('9223372036854775807', '-9007199254740993')),
  stop: fc.constantFrom('', [], ['a'], 'zz'),
  min_tokens: fc.constantFrom(0, 1, 2 ** 31),
  stop_token_ids: fc.constantFrom([], [97], [97, 98]),
  ignore_eos: fc.boolean(),
  logit_bias: fc.constantFrom({}, { 97: 1 }, [[97, 1]]),
  user: fc.string({ maxLength: 20 }),
  metadata: fc.constantFrom({}, { a: 'b' }),
  cache_prompt: fc.boolean(),
  skip_special_tokens: fc.boolean(),
  stream: fc.boolean(),
  service_tier: fc.constantFrom('auto', 'flex'),
  guided_json: fc.constantFrom(false, ''),
  options: fc.constantFrom({}, { top_k: 5, num_ctx: 2048, seed: 7 }, { temperature: 0.1, typical_p: 1 }),
}

const extras = fc.dictionary(
  fc.oneof(
    fc.constantFrom(
      'keep_alive',
      'mirostat',
      'typical_p',
      'extra_body',
      'thinking',
      'drop_params',
      'constructor',
      'samplers',
    ),
    fc.string({ minLength: 1, maxLength: 12 }).map((name) => `x ${name}`),
  ),
  fc.jsonValue({ maxDepth: 3 }),
  { maxKeys: 3 },
)

function propertiesOf(form: FuzzedForm) {
  const schemas = openApi().components!.schemas!
  return schemas[routeOf(form).schema] as { properties: object; required?: string[] }
}

/** The names of all fields of a form, by any name. */
const namesOf = new Map(
  forms.map((form) => [form, new Set([...Object.keys(propertiesOf(form).properties), ...Object.keys(aliases[form])])]),
)

/** Returns the names of nullable fields. */
function nullable(form: FuzzedForm): string[] {
  const required = propertiesOf(form).required ?? []
  return [...namesOf.get(form)!].filter((name) => !required.includes(name) && !(name in routeOf(form).least))
}

const nullsOf = new Map(forms.map((form) => [form, nullable(form)]))

const message = fc.record(
  {
    role: fc.constantFrom('user', 'assistant', 'system', 'developer'),
    content: fc.oneof(
      fc.string({ maxLength: 10 }),
      fc.constantFrom(
        [{ type: 'text', text: 'x', cache_control: null }],
        [{ type: 'input_text', text: 'y', extra: 1 }],
      ),
    ),
    name: fc.constantFrom(null, 'Ada'),
    tool_calls: fc.constantFrom(null, [], [{ id: 'a', function: { name: 'f', arguments: '{"x": 1}' } }]),
    refusal: fc.constant(null),
    reasoning_content: fc.constant(null),
    id: fc.constantFrom(null, 'msg_1'),
  },
  { requiredKeys: ['role', 'content'] },
)

/** Messages of Ollama's API have texts only. */
const ollamaMessage = fc.record(
  {
    role: fc.constantFrom('user', 'assistant', 'system'),
    content: fc.oneof(fc.string({ maxLength: 10 }), fc.constant(null)),
    thinking: fc.constantFrom(null, 'why'),
    images: fc.constantFrom(null, []),
    tool_calls: fc.constantFrom(null, []),
    extra: fc.constant(1),
  },
  { requiredKeys: ['role', 'content'] },
)

/** Anthropic's API calls a developer's message the system's. */
const anthropicMessage = message.filter(({ role }) => role !== 'developer')

function talkOf(form: FuzzedForm): fc.Arbitrary<object> {
  const { talk } = routeOf(form)
  if (talk === undefined) return fc.constant({})
  const one = form === 'ollamaChat' ? ollamaMessage : form === 'message' ? anthropicMessage : message
  return fc.array<unknown>(one, { minLength: 1, maxLength: 4 }).map((messages) => ({ [talk]: messages }))
}

const soundCase: fc.Arbitrary<Case> = fc.constantFrom(...forms).chain((form) => {
  const known = fc.record(values, { requiredKeys: [] })
  const names = namesOf.get(form)!
  const nullables = nullsOf.get(form)!
  const { least } = routeOf(form)
  // What is an unknown field of one form is a field of another, whose values are not arbitrary.
  const unknown = extras.map((all) => Object.fromEntries(Object.entries(all).filter(([name]) => !names.has(name))))
  return fc
    .record({
      known,
      unknown,
      nulls: fc.subarray(nullables, { maxLength: Math.min(12, nullables.length) }),
      talk: fc.oneof(talkOf(form), fc.constant({})),
    })
    .map(({ known, unknown, nulls, talk }): Case => {
      const empty = Object.fromEntries(nulls.map((name) => [name, null]))
      const options = isOllama(form) && { options: { ...(known.options as object), ...(least.options as object) } }
      return { form, body: { ...unknown, ...known, ...least, ...talk, ...empty, ...options }, nulls, sound: true }
    })
})

/** Arbitrary JSON in known fields. */
const wildCase: fc.Arbitrary<Case> = fc.constantFrom(...forms).chain((form) => {
  const { least } = routeOf(form)
  const names = fc.constantFrom(...nullsOf.get(form)!, ...Object.keys(least), 'options', 'chat_template_kwargs')
  const anything = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.double({ noNaN: true }),
    fc.string({ unit: 'binary', maxLength: 30 }),
  )
  return fc
    .dictionary(names, anything, { maxKeys: 4 })
    .map((wild): Case => ({ form, body: { ...least, ...wild }, nulls: [], sound: false }))
})

/** Returns the field at fault, undefined if the API does not tell. Throws for a failure of another form. */
function faultOf(form: FuzzedForm, text: string): string | undefined {
  const failure = JSON.parse(text)
  const { error } = failure
  const told = isOllama(form) ? error : form === 'message' ? error.type && failure.request_id : error.code
  if (typeof told !== 'string') throw new Error(`another form of failure: ${text}`)
  return error.param
}

/** Throws with the shrunk case and its seed. */
export async function fuzzApi(app: App, cases: number, seed: number): Promise<FuzzReport> {
  const statuses: Record<number, number> = {}
  const one = fc.oneof({ weight: 3, arbitrary: soundCase }, { weight: 1, arbitrary: wildCase })
  const check = fc.asyncProperty(one, async ({ form, body, nulls, sound }) => {
    const { path, end } = routeOf(form)
    const response = await ask(app, body, { path })
    const text = await response.text()
    statuses[response.status] = (statuses[response.status] ?? 0) + 1
    if (response.status >= 500) throw new Error(`${response.status}: ${text}`)
    if (response.status >= 400) {
      const fault = faultOf(form, text)
      if (sound || (fault !== undefined && nulls.includes(fault))) throw new Error(`refused: ${text}`)
    } else if (body.stream === true && !text.includes(end)) throw new Error('no end')
    const ignored = response.headers.get('x-foretoken-ignored') ?? ''
    if (ignored.length > 1200) throw new Error(`a header of ${ignored.length} bytes`)
  })
  await fc.assert(check, { numRuns: cases, seed })
  return { cases, statuses }
}
