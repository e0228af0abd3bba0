/** Answers with a shape and tools on the page: in the tab, at endpoints, and what is loaded for them. */
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { expectAccessible } from '../helpers/accessible.ts'
import { asked, type PageWorld, pageWorld, withModel } from '../helpers/page.ts'

let world: PageWorld
beforeAll(async () => {
  world = await pageWorld()
})
afterAll(() => world?.close())

const turn = (page: Page) => page.locator('.turn').last()
const box = (page: Page) => page.getByLabel('JSON schema')
const flag =
  '{"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"], "additionalProperties": false}'

async function withSchema(page: Page, schema: string): Promise<void> {
  await page.getByText('Shape:').click()
  await box(page).fill(schema)
}

async function withTools(page: Page, use: 'May call' | 'Must call'): Promise<void> {
  // A turn has several answers, and the prompt of each tells of the tools.
  page.setDefaultTimeout(240_000)
  await page.getByText('Tools:').click()
  await page.getByRole('radio', { name: use }).check()
}

/** Which parts of the page have been fetched that only a shape or tools need. */
function seldom(page: Page): () => string[] {
  const found: string[] = []
  page.on('request', (request) => {
    const [, name] =
      /\/page\/(guides?|wishes|shape-panel|tools-panel|json-view|loop)-\w+\.(?:js|wasm)$/.exec(request.url()) ?? []
    if (name) found.push(name)
  })
  return () => [...new Set(found)].sort()
}

describe('in the tab', () => {
  test('an answer fits the schema, and is shown for reading; what it needs is loaded then', async () => {
    const { page, errors } = await world.visit({ serviceWorkers: 'block' })
    const loaded = seldom(page)
    await withModel(page, world.url)
    await asked(page, 'Hello')
    expect(loaded()).toEqual([])
    await page.getByText('Shape:').click()
    await box(page).waitFor()
    expect(loaded()).toEqual(['shape-panel'])
    await box(page).fill(flag)
    await asked(page, 'Are you sure?')
    await turn(page).locator('dl.json').waitFor()
    expect(await turn(page).locator('dl.json').textContent()).toMatch(/^sure(true|false)$/)
    await turn(page).getByText('As JSON').click()
    expect(Object.keys(JSON.parse((await turn(page).locator('.answer').textContent())!))).toEqual(['sure'])
    expect(loaded()).toEqual(['guide', 'guides', 'json-view', 'shape-panel', 'wishes'])
    await page.getByRole('button', { name: 'Any text again' }).click()
    expect(await box(page).inputValue()).toBe('')
    await asked(page, 'And now?')
    expect(await turn(page).locator('.answer').isVisible()).toBe(true)
    expect(errors).toEqual([])
    await page.context().close()
  })

  test('a fault is shown beside the box with its path, and nothing is sent until it is mended', async () => {
    const { page } = await world.visit()
    await page.goto(world.url)
    await withSchema(page, '{"type": ')
    await page.getByLabel('Your message').fill('Hello')
    // JSON is checked without a model, a schema by its own.
    const fault = page.locator('#schema-fault')
    await fault.getByText('This is not JSON').waitFor()
    await box(page).fill('{"properties": {"a": {"items": {"type": "strin"}}}}')
    await page.getByRole('button', { name: /^Load tiny/ }).click()
    await fault.getByText('At /properties/a/items/type: ').waitFor()
    expect(await box(page).getAttribute('aria-invalid')).toBe('true')
    expect(await page.getByRole('button', { name: 'Send' }).isDisabled()).toBe(true)
    await page.getByText('Shape:').click()
    await page.getByText('(it has a fault)').waitFor()
    await page.getByText('Shape:').click()
    await box(page).fill(flag)
    await page.waitForFunction(() => document.querySelector('#schema-fault')?.textContent === '')
    await page.getByRole('button', { name: 'Send' }).click()
    await turn(page).locator('dl.json').waitFor()
    await page.context().close()
  })

  test('each example compiles, and suggests a question', async () => {
    const { page } = await world.visit()
    await withModel(page, world.url)
    await page.getByText('Shape:').click()
    for (const name of ['A person', 'A mood', 'A recipe']) {
      await page.getByRole('button', { name }).click()
      expect((await page.getByLabel('Your message').inputValue()).length, name).toBeGreaterThan(20)
      await page.getByRole('button', { name: 'Send' }).click()
      await page.locator('[role=log][aria-busy=false] .turn').waitFor()
      expect(await page.locator('#schema-fault').textContent(), name).toBe('')
      expect(await turn(page).locator('.failed').count(), name).toBe(0)
      await page.getByRole('button', { name: 'New chat' }).click()
    }
    await page.context().close()
  })

  test('a schema is made of examples', async () => {
    const { page } = await world.visit()
    await page.goto(world.url)
    await withSchema(page, '{"sure": true}\n{"sure": false}')
    await page.getByRole('button', { name: 'Make a schema of examples' }).click()
    expect(JSON.parse(await box(page).inputValue())).toEqual(JSON.parse(flag))
    await box(page).fill('{"sure": true}\n{"sure": ')
    await page.getByRole('button', { name: 'Make a schema of examples' }).click()
    await page.locator('#schema-fault').getByText('line 2 is not JSON').waitFor()
    await page.context().close()
  })

  test('a tool is called, its result is shown, and the answer and the chat go on', async () => {
    const { page, errors } = await world.visit({ serviceWorkers: 'block' })
    const loaded = seldom(page)
    await withModel(page, world.url)
    await withTools(page, 'Must call')
    for (const question of ['How much is it?', 'And now?']) {
      await asked(page, question)
      expect(await turn(page).locator('.failed').allTextContents()).toEqual(
        (await turn(page).locator('output').allTextContents()).filter((text) => text.includes('error: ')),
      )
      expect(await turn(page).locator('.tool').first().textContent()).toMatch(/calculator|clock/)
      expect(await turn(page).locator('.call code').first().textContent()).toMatch(/^\{.*\}$/)
      expect(await turn(page).locator('output').first().textContent()).toMatch(/^Result: ./)
      // The last answer has no call, or it would have been followed by another.
      expect(await turn(page).locator('.answer').count()).toBeGreaterThan(0)
      expect(await turn(page).locator('.bar .value').first().textContent()).toMatch(/^[\d,.]+ m?s$/)
      // A tiny context holds one such turn.
      await page.getByRole('button', { name: 'New chat' }).click()
    }
    expect(loaded()).toEqual(['guide', 'guides', 'loop', 'tools-panel', 'wishes'])
    expect(errors).toEqual([])
    await page.context().close()
  })

  test('a part of the page that can’t be loaded says so, and is tried again', async () => {
    const { page } = await world.visit({ serviceWorkers: 'block' })
    await page.goto(world.url)
    await page.route('**/page/shape-panel-*.js', (route) => route.abort())
    await page.getByText('Shape:').click()
    await page.getByRole('alert').getByText("can't be loaded").waitFor()
    await page.context().close()
  })

  test('a grammar engine that can’t be loaded is a fault of the moment', async () => {
    const { page } = await world.visit({ serviceWorkers: 'block' })
    await withModel(page, world.url)
    await page.route('**/page/guide-*.wasm', (route) => route.abort())
    await withSchema(page, flag)
    await page.locator('#schema-fault').getByText("can't be reached").waitFor()
    await page.unroute('**/page/guide-*.wasm')
    await box(page).fill(`${flag} `)
    await page.waitForFunction(() => document.querySelector('#schema-fault')?.textContent === '')
    await asked(page, 'Are you sure?')
    await turn(page).locator('dl.json').waitFor()
    await page.context().close()
  })
})

describe('at an endpoint', () => {
  type Chunk = { delta: object; finish_reason?: string }
  const events = (...chunks: Chunk[]) =>
    `${chunks.map((one) => `data: ${JSON.stringify({ choices: [{ index: 0, ...one }] })}\n\n`).join('')}data: [DONE]\n\n`

  /** Answers each request with the next text, and keeps the bodies. */
  async function endpoint(page: Page, answers: readonly (string | { status: number; message: string })[]) {
    const bodies: Record<string, unknown>[] = []
    await page.route('**/v1/chat/completions', (route) => {
      bodies.push(route.request().postDataJSON())
      const answer = answers[Math.min(bodies.length, answers.length) - 1]!
      if (typeof answer === 'string') return route.fulfill({ contentType: 'text/event-stream', body: answer })
      return route.fulfill({ status: answer.status, json: { error: { message: answer.message } } })
    })
    await page.goto(world.url)
    await page.getByRole('radio', { name: 'An endpoint' }).check()
    await page.getByRole('button', { name: 'List models' }).click()
    await page.getByText('Models: tiny').waitFor()
    return bodies
  }

  test('the schema is sent as OpenAI’s API has it, and only to the place for which it was typed', async () => {
    const { page } = await world.visit()
    const bodies = await endpoint(page, [
      events({ delta: { content: '{"sure": true}' } }, { delta: {}, finish_reason: 'stop' }),
    ])
    await withSchema(page, flag)
    await asked(page, 'Sure?')
    expect(await turn(page).locator('dl.json').textContent()).toBe('suretrue')
    expect(bodies[0]).toMatchObject({
      response_format: { type: 'json_schema', json_schema: { name: 'answer', strict: true, schema: JSON.parse(flag) } },
    })
    await page.getByLabel('Address').fill(`${world.url}/other/v1`)
    expect(await box(page).inputValue()).toBe('')
    await page.getByRole('radio', { name: 'This tab' }).check()
    expect(await box(page).inputValue()).toBe('')
    await page.context().close()
  })

  test('a schema that it refuses is a fault beside the box', async () => {
    const { page } = await world.visit()
    const message = 'Invalid schema for response_format: at /properties/a'
    await endpoint(page, [{ status: 400, message }])
    await withSchema(page, flag)
    await asked(page, 'Sure?')
    await turn(page).getByText(message).waitFor()
    await page.locator('#schema-fault').getByText(message).waitFor()
    await page.context().close()
  })

  test('its calls are run here, and their results are sent with the next request', async () => {
    const { page } = await world.visit()
    const part = (index: number, more: object) => ({ delta: { tool_calls: [{ index, ...more }] } })
    const called = events(
      { delta: { content: 'One moment.' } },
      part(0, { id: 'x', type: 'function', function: { name: 'calculator', arguments: '{"expres' } }),
      part(0, { function: { arguments: 'sion": "6 * 7"}' } }),
      part(1, { id: 'y', type: 'function', function: { name: 'shell', arguments: '' } }),
      { delta: {}, finish_reason: 'tool_calls' },
    )
    const bodies = await endpoint(page, [called, events({ delta: { content: 'It is 42.' }, finish_reason: 'stop' })])
    await withTools(page, 'May call')
    await asked(page, 'What is 6 * 7?')
    expect(await turn(page).locator('.answer').allTextContents()).toEqual(['One moment.', 'It is 42.'])
    expect(await turn(page).locator('.call code').first().textContent()).toBe('{"expression":"6 * 7"}')
    expect(await turn(page).locator('output').allTextContents()).toEqual([
      'Result: 42',
      'Result: error: there is no tool "shell"; there are calculator and clock',
    ])
    const [first, second] = bodies as [{ tools: object[] }, { messages: { role: string; content: string }[] }]
    expect(first).toMatchObject({ tool_choice: 'auto', tools: [{ function: { name: 'calculator' } }, {}] })
    expect(second.messages).toMatchObject([
      { role: 'user' },
      {
        role: 'assistant',
        content: 'One moment.',
        tool_calls: [{ function: { name: 'calculator', arguments: '{"expression":"6 * 7"}' } }, {}],
      },
      { role: 'tool', content: '42' },
      { role: 'tool', content: expect.stringMatching(/^error: there is no tool/) },
    ])
    await asked(page, 'Thanks.')
    expect((bodies[2] as typeof second).messages.map(({ role }) => role)).toEqual([
      'user',
      'assistant',
      'tool',
      'tool',
      'assistant',
      'user',
    ])
    await page.context().close()
  })

  test('a call that is cut short is not run', async () => {
    const { page } = await world.visit()
    const call = { index: 0, id: 'x', function: { name: 'calculator', arguments: '{"expression": "6' } }
    await endpoint(page, [events({ delta: { tool_calls: [call] } }, { delta: {}, finish_reason: 'length' })])
    await withTools(page, 'Must call')
    await asked(page, 'What is 6 * 7?')
    await turn(page).getByText('The call was cut short, and was not run.').waitFor()
    expect(await turn(page).locator('output').count()).toBe(0)
    await page.context().close()
  })
})

test('it has no accessibility violation, light or dark, and fits a phone', async () => {
  const { page } = await world.visit({ viewport: { width: 360, height: 740 }, reducedMotion: 'reduce' })
  await withModel(page, world.url)
  await withSchema(page, '{"type": "strin"}')
  await page.locator('#schema-fault').getByText('At /type: ').waitFor()
  await expectAccessible(page, 'a fault')
  const long = `{"enum": [{"a name that is long, and has${'_no_spaces'.repeat(12)}": [1, null, "", [], {}, {"b": true}]}]}`
  await box(page).fill(long)
  await page.waitForFunction(() => document.querySelector('#schema-fault')?.textContent === '')
  await asked(page, 'What?')
  await turn(page).locator('ol.json').waitFor()
  await expectAccessible(page, 'a shaped answer')
  await page.getByRole('button', { name: 'New chat' }).click()
  await page.getByRole('button', { name: 'Any text again' }).click()
  await withTools(page, 'Must call')
  await asked(page, 'How much?')
  await turn(page).locator('.call').first().waitFor()
  await expectAccessible(page, 'a call')
  await page.context().close()
})

test('a shape and tools are chosen by keyboard', async () => {
  const { page } = await world.visit()
  await page.goto(world.url)
  await page.getByText('Shape:').focus()
  await page.keyboard.press('Enter')
  await box(page).waitFor()
  await page.keyboard.press('Tab')
  await page.keyboard.type('{"type": "boolean"}')
  expect(await box(page).inputValue()).toBe('{"type": "boolean"}')
  await page.getByText('Tools:').focus()
  await page.keyboard.press('Space')
  await page.getByRole('radio', { name: 'None' }).focus()
  await page.keyboard.press('ArrowRight')
  expect(await page.getByRole('radio', { name: 'May call' }).isChecked()).toBe(true)
  await page.getByText('calculator and clock').waitFor()
  await page.context().close()
})
