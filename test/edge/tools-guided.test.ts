/** Calls of tools by a random model under the grammar of its tools. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp } from '../../edge/index.ts'
import type { App } from '../../edge/server.ts'
import { loadGuides } from '../../node/guides.ts'
import { type Engine, toolFormatNames } from '../../src/index.ts'
import { ask, chatBody, refusal } from '../helpers/ask.ts'
import { testConfig, tinyEngine } from '../helpers/tiny-server.ts'

const clock = { type: 'function', function: { name: 'clock' } }

describe('a random model that is kept to its tools', () => {
  let guided: Engine
  let app: App
  beforeAll(async () => {
    guided = await tinyEngine({ guides: loadGuides })
    app = createApp({ engine: guided, config: testConfig }) as App
  })
  afterAll(() => guided?.close())
  const schema = {
    type: 'object',
    properties: { n: { type: 'integer', minimum: 0, maximum: 99 }, unit: { enum: ['C', 'F'] } },
    required: ['n', 'unit'],
    additionalProperties: false,
  }
  const count = { type: 'function', function: { name: 'count', parameters: schema } }
  const formats = toolFormatNames.map((name) => [name])

  test.each(formats)('%s: calls follow the schema', async (tool_format) => {
    for (const seed of [1, 2, 3]) {
      const request = chatBody({
        tools: [clock, count],
        tool_choice: { type: 'function', function: { name: 'count' } },
        parallel_tool_calls: false,
        foretoken: { tool_format },
        temperature: 1,
        seed,
        max_tokens: 300,
      })
      const response = await ask(app, request)
      const [{ message, finish_reason }] = (await response.json()).choices
      expect(finish_reason).toBe('tool_calls')
      expect(message.content).toBe(null)
      expect(message.tool_calls).toHaveLength(1)
      const { n, unit, ...rest } = JSON.parse(message.tool_calls[0].function.arguments)
      expect(rest).toEqual({})
      // Gemma's notation takes types and choices, and not all of what a schema says.
      expect(n).toBeGreaterThanOrEqual(tool_format === 'gemma' ? -Infinity : 0)
      expect(['C', 'F']).toContain(unit)
    }
  })

  test('a schema that cannot be kept is refused', async () => {
    const parameters = { type: 'object', properties: { a: { $ref: 'https://example.org/schema.json' } } }
    const tools = [{ type: 'function', function: { name: 'f', parameters } }]
    expect(await refusal(await ask(app, chatBody({ tools })))).toMatchObject({ status: 400 })
  })

  test.each<[string, object, RegExp]>([
    ['that the engine refuses', { if: { type: 'string' } }, /the parameters of the tool second at .*: .*if/],
    ['that is refused before', { contentEncoding: 'rot13' }, /the parameters of the tool second at .*rot13/],
  ])('a keyword in a tool’s schema %s names the tool', async (_, property, message) => {
    const parameters = { type: 'object', properties: { a: property } }
    const tools = ['first', 'second'].map((name, index) => ({
      type: 'function',
      function: { name, parameters: index === 0 ? schema : parameters },
    }))
    const refused = await refusal(await ask(app, chatBody({ tools })))
    expect(refused).toMatchObject({ status: 400, param: 'tools' })
    expect(refused.message).toMatch(message)
  })

  test('text of one shape, or a call', async () => {
    const response_format = { type: 'json_schema', json_schema: { name: 'x', schema } }
    const request = chatBody({ tools: [clock], response_format, temperature: 1, seed: 5, max_tokens: 300 })
    const [{ message }] = (await (await ask(app, request)).json()).choices
    if (message.content !== null) expect(JSON.parse(message.content)).toMatchObject({ n: expect.any(Number) })
    else expect(message.tool_calls).toHaveLength(1)
  })
})
