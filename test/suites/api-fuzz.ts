/**
 * Generates requests as careless clients write them: valid ones with nulls anywhere, aliases of
 * other servers, unknown extras and values at their limits, and some arbitrary ones. A nullable
 * field is never the reason for a refusal, and nothing causes a server error.
 */

import { aliases, type Form } from '../../edge/aliases.ts'
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
  readonly form: Form
  readonly body: Readonly<Record<string, unknown>>
  /** Nullable fields set to null, whose absence changes nothing. */
  readonly nulls: readonly string[]
  /** True if the request is valid and must be answered. */
  readonly sound: boolean
}

const paths = { chat: '/v1/chat/completions', completion: '/v1/completions', response: '/v1/responses' } as const
const schemaNames = {
  chat: 'ChatCompletionRequest',
  completion: 'CompletionRequest',
  response: 'ResponseRequest',
} as const

/** A request for a short answer, so that a case takes a millisecond. */
const least: Record<Form, Record<string, unknown>> = {
  chat: { model: 'tiny', messages: [{ role: 'user', content: 'x' }], max_tokens: 2 },
  completion: { model: 'tiny', prompt: 'x', max_tokens: 2 },
  response: { model: 'tiny', input: 'x', max_output_tokens: 2 },
}

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

/** Returns the names of nullable fields. */
function nullable(form: Form): string[] {
  const schema = openApi().components!.schemas![schemaNames[form]] as { properties: object; required?: string[] }
  return [...Object.keys(schema.properties), ...Object.keys(aliases[form])].filter(
    (name) => !(schema.required ?? []).includes(name) && !(name in least[form]),
  )
}

const nullsOf: Record<Form, string[]> = {
  chat: nullable('chat'),
  completion: nullable('completion'),
  response: nullable('response'),
}

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
    tool_calls: fc.constantFrom(null, []),
    refusal: fc.constant(null),
    reasoning_content: fc.constant(null),
    id: fc.constantFrom(null, 'msg_1'),
  },
  { requiredKeys: ['role', 'content'] },
)

const soundCase: fc.Arbitrary<Case> = fc.constantFrom<Form>('chat', 'completion', 'response').chain((form) => {
  const known = fc.record(values, { requiredKeys: [] })
  const talk = form === 'completion' ? fc.constant({}) : fc.array(message, { minLength: 1, maxLength: 4 })
  return fc
    .record({ known, extras, nulls: fc.subarray(nullsOf[form], { maxLength: 12 }), talk: fc.option(talk) })
    .map(({ known, extras, nulls, talk }): Case => {
      const said = Array.isArray(talk) ? { [form === 'chat' ? 'messages' : 'input']: talk } : {}
      const empty = Object.fromEntries(nulls.map((name) => [name, null]))
      return { form, body: { ...extras, ...known, ...least[form], ...said, ...empty }, nulls, sound: true }
    })
})

/** Arbitrary JSON in known fields. */
const wildCase: fc.Arbitrary<Case> = fc.constantFrom<Form>('chat', 'completion', 'response').chain((form) => {
  const names = fc.constantFrom(...nullsOf[form], ...Object.keys(least[form]), 'options', 'chat_template_kwargs')
  const anything = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.double({ noNaN: true }),
    fc.string({ unit: 'binary', maxLength: 30 }),
  )
  return fc
    .dictionary(names, anything, { maxKeys: 4 })
    .map((wild): Case => ({ form, body: { ...least[form], ...wild }, nulls: [], sound: false }))
})

/** Throws with the shrunk case and its seed. */
export async function fuzzApi(app: App, cases: number, seed: number): Promise<FuzzReport> {
  const statuses: Record<number, number> = {}
  const one = fc.oneof({ weight: 3, arbitrary: soundCase }, { weight: 1, arbitrary: wildCase })
  const check = fc.asyncProperty(one, async ({ form, body, nulls, sound }) => {
    const response = await ask(app, body, { path: paths[form] })
    const text = await response.text()
    statuses[response.status] = (statuses[response.status] ?? 0) + 1
    if (response.status >= 500) throw new Error(`${response.status}: ${text}`)
    if (response.status >= 400) {
      const { error } = JSON.parse(text)
      if (typeof error.code !== 'string') throw new Error(`no code: ${text}`)
      if (sound || nulls.includes(error.param)) throw new Error(`refused: ${text}`)
    } else if (body.stream === true && !text.includes('[DONE]') && form !== 'response') throw new Error('no end')
    const ignored = response.headers.get('x-foretoken-ignored') ?? ''
    if (ignored.length > 1200) throw new Error(`a header of ${ignored.length} bytes`)
  })
  await fc.assert(check, { numRuns: cases, seed })
  return { cases, statuses }
}
