/**
 * Answers under 60 schemas validate, by a validator that is not ours: those that end by themselves as
 * they are, and those that were cut once something follows them.
 */
import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import { afterAll, describe, expect, test } from 'vitest'
import { loadGuides } from '../../node/guides.ts'
import type { DoneEvent, JsonSchema } from '../../src/index.ts'
import { schemas } from '../helpers/schemas.ts'
import { tinyEngine } from '../helpers/tiny-server.ts'

const engine = await tinyEngine({ guides: loadGuides })
afterAll(() => engine.close())
const ajv = new Ajv2020({ strict: false })
formats.default(ajv)

/** Makes ends likely: quotes, commas, brackets and braces, and the ends of answers; and white space unlikely. */
const ending = Object.fromEntries([
  ...engine.archive.tokenizer.eosIds.map((id) => [id, 100]),
  ...[...Buffer.from(']}')].map((id) => [id, 30]),
  ['"'.charCodeAt(0), 100],
  [','.charCodeAt(0), 10],
  ...[...Buffer.from(' \t\r\n')].map((id) => [id, -100]),
])

const answer = (schema: JsonSchema, seed: number, more: object = {}): Promise<DoneEvent> => {
  const guide = { kind: 'json_schema', schema, compact: seed % 2 === 0 } as const
  return engine.submit({ prompt: 'JSON:', guide, temperature: 1, seed, maxTokens: 120, ...more }).result()
}

describe('answers validate', () => {
  test.each(schemas(60).map((schema, at) => [at, JSON.stringify(schema).slice(0, 100), schema] as const))(
    '%i: %s',
    async (_at, _text, schema) => {
      const valid = ajv.compile(schema as object)
      const answers = await Promise.all([1, 2, 3, 4].map((seed) => answer(schema, seed)))
      for (const [index, cut] of answers.entries()) {
        const seed = index + 1
        const whole =
          cut.finishReason === 'stop'
            ? cut
            : await answer(schema, seed, { after: cut.ids, maxTokens: 900, logitBias: ending, temperature: 0 })
        expect([whole.finishReason, whole.ids.slice(0, cut.ids.length), whole.text.slice(-60)]).toEqual([
          'stop',
          cut.ids,
          expect.anything(),
        ])
        const value: unknown = JSON.parse(whole.text)
        expect([whole.text, valid(value), valid.errors]).toEqual([whole.text, true, null])
      }
    },
    60_000,
  )
})
