/** The public JSON-Schema-Test-Suite, drafts 7 and 2020-12: no answer is accepted that it calls invalid. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { suiteCases, suiteDocument, suiteVerdicts } from '../helpers/schema-suite.ts'

const verdicts = suiteVerdicts()

test('no invalid instance is accepted, in any order of its members', () => {
  expect(verdicts.filter(({ wrong }) => wrong.length > 0)).toEqual([])
  const judged = verdicts.filter(({ refusal }) => refusal === undefined)
  expect(judged.length).toBeGreaterThan(200)
  expect(judged.reduce((sum, { invalid }) => sum + invalid, 0)).toBeGreaterThan(400)
})

test('nor is one where the schema names its draft, which changes what some keywords mean', () => {
  const named = {
    draft7: 'http://json-schema.org/draft-07/schema#',
    'draft2020-12': 'https://json-schema.org/draft/2020-12/schema',
  }
  const cases = suiteCases().flatMap((one) =>
    Object.entries(named)
      .filter(([draft]) => one.drafts.includes(draft) && typeof one.schema === 'object' && !('$schema' in one.schema))
      .map(([, $schema]) => ({ ...one, schema: { $schema, ...(one.schema as object) } })),
  )
  expect(cases.length).toBeGreaterThan(700)
  expect(suiteVerdicts(cases).filter(({ wrong }) => wrong.length > 0)).toEqual([])
})

test('what is refused says where', () => {
  for (const { refusal, about } of verdicts)
    if (refusal !== undefined) expect([about, refusal]).toEqual([about, expect.stringMatching(/ at (?:\/|the root)/)])
})

test('docs/json-schema.md is what npm run check:schema-suite writes', () => {
  expect(readFileSync(new URL('../../docs/json-schema.md', import.meta.url), 'utf8')).toBe(suiteDocument(verdicts))
})
