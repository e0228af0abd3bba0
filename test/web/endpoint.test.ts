/** Endpoints asked from the page: foretoken's own with and without a predictor, others, and those whose streams break. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import AxeBuilder from '@axe-core/playwright'
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { startCli } from '../helpers/cli-process.ts'
import { asked, type PageWorld, pageWorld, questionOf } from '../helpers/page.ts'
import { type Handler, type StaticPage, sendJson, staticPage } from '../helpers/static-page.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

async function atEndpoint(page: Page, url: string): Promise<void> {
  await page.goto(url)
  await page.getByRole('radio', { name: 'An endpoint' }).check()
  await page.getByRole('button', { name: 'List models' }).click()
  await page.getByText(/^Models: /).waitFor()
}

const turn = (page: Page) => page.locator('.turn').last()
const names = (page: Page) => turn(page).locator('.bar .name').allTextContents()

describe("foretoken's own endpoint", () => {
  let world: PageWorld
  beforeAll(async () => {
    world = await pageWorld()
  })
  afterAll(() => world?.close())

  test('each mode is requested and shown', async () => {
    const { page, errors } = await world.visit()
    const bodies: Record<string, unknown>[] = []
    // The requested fields are recorded; other fields make sure that a random model answers with
    // some text.
    await page.route('**/v1/chat/completions', (route) => {
      const body = route.request().postDataJSON()
      bodies.push(body)
      const more = { temperature: 0, max_tokens: 60, foretoken: { ...body.foretoken, ignore_eos: true } }
      return route.continue({ postData: JSON.stringify({ ...body, ...more }) })
    })
    await atEndpoint(page, world.url)
    for (const mode of ['Predicted', 'Refined', 'Exact']) {
      await page.getByRole('radio', { name: mode }).check()
      await asked(page, questionOf(`There ${mode}`))
      expect(await turn(page).locator('.failed').count(), (await turn(page).textContent())!).toBe(0)
      expect((await turn(page).locator('.answer').textContent())!.length).toBeGreaterThan(0)
      expect(await names(page)).toEqual([mode.toLowerCase()])
      // The figures tell from which token it was exact, or that it ended before.
      if (mode !== 'Exact')
        expect(await turn(page).locator('.figures').textContent()).toMatch(/exact from token \d+|predicted to the end/)
      await page.getByRole('button', { name: 'New chat' }).click()
    }
    // A prompt that is too short for a mode says so.
    await page.getByRole('radio', { name: 'Refined' }).check()
    await asked(page, 'Hello')
    expect(await names(page)).toEqual(['exact'])
    await turn(page).getByText('nothing was left to predict').waitFor()
    await page.getByRole('button', { name: 'New chat' }).click()
    expect(bodies.map(({ foretoken }) => foretoken)).toEqual([
      { prefill: 'predicted' },
      { prefill: 'refined', verify: true },
      undefined,
      { prefill: 'refined', verify: true },
    ])
    expect(errors).toEqual([])
    await page.context().close()
  })

  test('without a predictor answers all the same, and the page says that it does not predict', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'foretoken-plain-'))
    const model = join(folder, 'tiny.gguf')
    writeFileSync(model, tinyGguf({ layers: 2, context: 1024 }))
    const server = startCli(['serve', '--port', '0', '-m', model, '--threads', '1'], { FORETOKEN_HOME: folder })
    try {
      const { page } = await world.visit()
      await atEndpoint(page, await server.url())
      await page.getByRole('radio', { name: 'Predicted' }).check()
      await asked(page, 'Hello')
      expect(await turn(page).locator('.failed').count()).toBe(0)
      expect(await names(page)).toEqual(['exact'])
      await turn(page)
        .getByText(/does not support “predicted” \(it says: .*needs a predictor/)
        .waitFor()
      // A refused feature is not requested again.
      await page.getByText(/This endpoint does not predict/).waitFor()
      expect(await page.getByRole('radio', { name: 'Predicted' }).isDisabled()).toBe(true)
      await page.context().close()
    } finally {
      server.child.kill('SIGKILL')
      await server.ended
      rmSync(folder, { recursive: true, force: true })
    }
  })
})

describe('another endpoint', () => {
  let world: StaticPage
  beforeAll(async () => {
    world = await staticPage()
    world.handlers.set('/v1/models', models)
  })
  afterEach(() => {
    world.reset()
    world.handlers.set('/v1/models', models)
  })
  afterAll(() => world?.close())

  const models: Handler = (_, response) => sendJson(response, { data: [{ id: 'other' }] })
  const chunk = (content: string, reason: string | null = null) =>
    `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason: reason }] })}\n\n`
  const streamed = (response: ServerResponse, text: string) =>
    response.writeHead(200, { 'content-type': 'text/event-stream' }).end(text)
  const sent = () =>
    world.seen.filter(({ path }) => path === '/v1/chat/completions').map(({ body }) => JSON.parse(body))
  const answers = (handler: Handler) => world.handlers.set('/v1/chat/completions', handler)

  test('that ignores the mode answers, and the page says that the mode is unknown', async () => {
    answers((_, response) => streamed(response, `${chunk('fine')}data: [DONE]\n\n`))
    const page = await world.visit()
    await atEndpoint(page, world.url)
    await page.getByRole('radio', { name: 'Refined' }).check()
    await asked(page, 'Hello')
    expect(await turn(page).locator('.answer').textContent()).toBe('fine')
    expect(await names(page)).toEqual(['endpoint'])
    await turn(page)
      .getByText(/does not support “refined” \(it does not report it\)/)
      .waitFor()
    expect((await new AxeBuilder({ page }).analyze()).violations).toEqual([])
    expect(sent()).toHaveLength(1)
    // In the next turn the mode is not asked for again.
    await asked(page, 'Again')
    expect(sent()[1].foretoken).toBeUndefined()
    await page.context().close()
  })

  test.each([400, 422])('that refuses the field with %i is asked again without it', async (status) => {
    answers((_, response) =>
      sent().at(-1).foretoken
        ? sendJson(response, { error: { message: "Unknown parameter: 'foretoken'." } }, status)
        : streamed(response, chunk('fine', 'stop')),
    )
    const page = await world.visit()
    await atEndpoint(page, world.url)
    await page.getByRole('radio', { name: 'Predicted' }).check()
    await asked(page, 'Hello')
    expect(await turn(page).locator('.answer').textContent()).toBe('fine')
    await turn(page)
      .getByText(/does not support “predicted” \(it says: Unknown parameter/)
      .waitFor()
    expect(sent().map(({ foretoken }) => foretoken !== undefined)).toEqual([true, false])
    await page.context().close()
  })

  test('that refuses the question, too, shows why, once', async () => {
    answers((_, response) => sendJson(response, { error: 'no such model' }, 400))
    const page = await world.visit()
    await atEndpoint(page, world.url)
    await page.getByRole('radio', { name: 'Predicted' }).check()
    await asked(page, 'Hello')
    expect(await turn(page).getByRole('alert').allTextContents()).toEqual(['the endpoint answers 400: no such model'])
    // An answer that failed before its first token has no time.
    expect(await turn(page).locator('.bar').count()).toBe(0)
    await page.context().close()
  })

  test.each<[string, string, RegExp]>([
    ['ends', chunk('half an'), /broke off: the stream ended without a finish reason/],
    ['tells a failure', `${chunk('half an')}data: {"error": "it is full"}\n\n`, /failed: it is full/],
  ])('whose stream %s too early has that shown below the partial answer', async (_, text, why) => {
    answers((_, response) => streamed(response, text))
    const page = await world.visit()
    await atEndpoint(page, world.url)
    await asked(page, 'Hello')
    expect(await turn(page).locator('.answer').textContent()).toBe('half an')
    await turn(page).getByRole('alert').getByText(why).waitFor()
    await page.context().close()
  })

  test('whose connection breaks has that shown below the partial answer', async () => {
    let broken: ServerResponse | undefined
    answers((_, response) => {
      broken = response
      response.writeHead(200, { 'content-type': 'text/event-stream', 'content-length': 10_000 }).write(chunk('half an'))
    })
    const page = await world.visit()
    await atEndpoint(page, world.url)
    await page.getByLabel('Your message').fill('Hello')
    await page.getByRole('button', { name: 'Send' }).click()
    await turn(page).getByText('half an').waitFor()
    broken!.destroy()
    await turn(page)
      .getByRole('alert')
      .getByText(/broke off: /)
      .waitFor()
    expect(await turn(page).locator('.answer').textContent()).toBe('half an')
    await page.context().close()
  })

  test('that does not stream is read whole, and the page says so', async () => {
    answers((_, response) =>
      sendJson(response, { choices: [{ message: { content: 'all at once' }, finish_reason: 'length' }] }),
    )
    const page = await world.visit()
    await atEndpoint(page, world.url)
    await asked(page, 'Hello')
    expect(await turn(page).locator('.answer').textContent()).toBe('all at once')
    await turn(page)
      .getByText(/arrived in one piece.*Cut off at the endpoint’s token limit/)
      .waitFor()
    await page.context().close()
  })

  test.each<[string, Handler, RegExp]>([
    ['an empty body', (_, response) => response.writeHead(503).end(), /answers 503: it gives no reason/],
    ['a detail', (_, response) => sendJson(response, { detail: 'too busy' }, 429), /answers 429: too busy; try again/],
    ['a text', (_, response) => response.writeHead(401).end('who are you?'), /answers 401: who are you\?; enter a key/],
    [
      'a page',
      (_, response) => response.writeHead(502, { 'content-type': 'text/html' }).end('<h1>Bad gateway</h1>'),
      /answers 502 with a web page \(Bad gateway\)/,
    ],
    ['nothing with 200', (_, response) => response.writeHead(200).end(), /answer is empty/],
    ['a failure with 200', (_, response) => sendJson(response, { error: { message: 'too busy' } }), /failed: too busy/],
  ])('that fails with %s shows why', async (_, handler, why) => {
    answers(handler)
    const page = await world.visit()
    await atEndpoint(page, world.url)
    await asked(page, 'Hello')
    await turn(page).getByRole('alert').getByText(why).waitFor()
    await page.context().close()
  })

  test('a stop also ends the stream at the endpoint', async () => {
    let gone = false
    answers((_, response) => {
      response.on('close', () => {
        gone = true
      })
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(chunk('for ever'))
    })
    const page = await world.visit()
    await atEndpoint(page, world.url)
    await page.getByLabel('Your message').fill('Hello')
    await page.getByRole('button', { name: 'Send' }).click()
    await page.getByText('for ever').waitFor()
    await page.getByRole('button', { name: 'Stop' }).click()
    await page.getByText('stopped').waitFor()
    await expect.poll(() => gone).toBe(true)
    await page.context().close()
  })
})
