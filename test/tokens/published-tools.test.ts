/**
 * Conversations with tools, as transformers renders them by the templates of published models
 * (test/vectors/published_tools.py). Templates that may not be copied are read from the folder that
 * FORETOKEN_TEMPLATES names, and skipped without it.
 */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { ChatMessage } from '../../src/base/prompt.ts'
import type { ToolDefinition } from '../../src/base/tool.ts'
import { promptIds } from '../../src/tokens/prompt.ts'
import { applyTemplate, toolSupport } from '../../src/tokens/template.ts'
import { AnswerReader } from '../../src/tools/reader.ts'
import { readGolden, vectors } from '../golden/golden.ts'
import { smallSpec, smallTokenizer } from '../helpers/small-bpe.ts'

interface Published {
  readonly name: string
  /** Where the template is among the vectors; absent if it may not be copied. */
  readonly copy?: string
  readonly sha256: string
  readonly bos: string
  readonly eos: string
  readonly format: string
  /** Hashes of the text and the ids; null where the template refuses. */
  readonly cases: Readonly<Record<string, readonly [text: string, ids: string] | null>>
}

const { templates } = readGolden<{ readonly templates: readonly Published[] }>(
  'published-tools.json',
  'published-tools',
)
const golden = readGolden<{
  readonly today: string
  readonly tools: readonly { readonly function: ToolDefinition }[]
  readonly conversations: Readonly<Record<string, readonly ChatMessage[]>>
}>('tools.json', 'tools')
const tools = golden.tools.map((tool) => tool.function)
const tokenizer = smallTokenizer()
const { FORETOKEN_TEMPLATES: folder } = process.env

function pathOf({ name, copy }: Published): string | undefined {
  if (copy) return fileURLToPath(new URL(copy, vectors))
  const path = folder && join(folder, `${name}.jinja`)
  return path && existsSync(path) ? path : undefined
}

function hash(text: string, digits: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, digits)
}

beforeAll(() => {
  vi.useFakeTimers({ now: new Date(`${golden.today}T12:00:00Z`), toFake: ['Date'] })
})
afterAll(() => {
  vi.useRealTimers()
})

for (const published of templates) {
  const path = pathOf(published)
  describe.skipIf(path === undefined)(published.name, () => {
    const template = path === undefined ? '' : readFileSync(path, 'utf8')
    const spec = { ...smallSpec(template), bosToken: published.bos, eosToken: published.eos }

    test('is the template that the reference rendered, and its format is found', () => {
      expect(hash(template, 16)).toBe(published.sha256)
      expect(toolSupport(spec).format.name).toBe(published.format)
    })

    const rendered = Object.entries(published.cases).filter(([, each]) => each !== null)
    // Without a format of its own the tools are text, which no template renders.
    test.skipIf(published.format === 'generic').each(rendered)('%s', (name, each) => {
      const messages = golden.conversations[name] ?? []
      const text = applyTemplate(spec, messages, { tools })
      const ids = promptIds(tokenizer, spec, messages, { context: 100_000, tools })
      expect([hash(text, 16), hash(ids.join(','), 8)]).toEqual(each)
    })

    test.skipIf(published.format === 'generic' || published.cases['a call'] === null)('its calls are read back', () => {
      const question = golden.conversations['a call']?.slice(0, 1) ?? []
      const call = golden.conversations['a call']?.slice(0, 2) ?? []
      const before = applyTemplate(spec, question, { tools })
      const whole = applyTemplate(spec, call, { tools, addGenerationPrompt: false } as object)
      const { format } = toolSupport(spec)
      const calls = { format, names: tools.map(({ name }) => name), required: false }
      const begin = [...before].findIndex((letter, at) => whole[at] !== letter)
      const reader = new AnswerReader({ calls })
      const parts = [...reader.push(whole.slice(begin < 0 ? before.length : begin)), ...reader.finish()]
      expect(parts.find(({ type }) => type === 'call')).toMatchObject({ name: 'get_weather' })
      const given = parts.flatMap((part) => (part.type === 'arguments' ? [part.text] : [])).join('')
      expect(JSON.parse(given)).toEqual({ city: 'Oslo' })
    })
  })
}
