/**
 * Only a 404 means that no model comes with the page; other failures are reported and can be
 * retried.
 */
import AxeBuilder from '@axe-core/playwright'
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Handler, isolated, manifestOf, type StaticPage, sendJson, staticPage } from '../helpers/static-page.ts'

let world: StaticPage
beforeAll(async () => {
  world = await staticPage()
})
afterEach(() => world.reset())
afterAll(() => world?.close())

const path = '/page/model.json'
const text =
  (status: number, body: string, type = 'text/plain'): Handler =>
  (_, response) =>
    response.writeHead(status, { ...isolated, 'content-type': type }).end(body)

const panel = (page: Page) => page.getByLabel('The model in this tab')

test('a 404 shows that no model is offered, and a file or an address can be given', async () => {
  world.handlers.set(path, text(404, 'none'))
  const page = await world.visit()
  await page.goto(world.url)
  await page.getByText('No model comes with this page.').waitFor()
  expect(await page.getByRole('alert').count()).toBe(0)
  await page.getByLabel('Pick a GGUF file').waitFor()
  await page.context().close()
})

const failures: readonly [string, Handler, RegExp][] = [
  ['500', text(500, 'oh'), /answers 500 for page\/model\.json/],
  ['503', text(503, ''), /answers 503/],
  ['403', text(403, ''), /answers 403/],
  ['200 with a page', text(200, '<!doctype html>', 'text/html'), /text\/html, which is not JSON/],
  ['200 with nothing', text(200, ''), /not JSON/],
  ['half a JSON', text(200, '{"name": "ti', 'application/json'), /not JSON/],
  [
    'JSON that is no manifest',
    text(200, '{"name": "tiny", "files": []}', 'application/json'),
    /lacks a name, or files/,
  ],
  ['nothing, and hangs up', (_, response) => response.destroy(), /can't be reached/],
]

describe('a failure shows what is wrong, and the model is offered once it is corrected', () => {
  let page: Page
  beforeAll(async () => {
    page = await world.visit({ serviceWorkers: 'block' })
  })
  afterAll(() => page?.context().close())

  test.each(failures)('%s', async (_, handler, why) => {
    world.handlers.set(path, handler)
    await page.goto(world.url)
    await page.getByRole('alert').getByText(why).waitFor()
    expect(await panel(page).textContent()).not.toContain('No model comes')
    // A file of one's own can be used meanwhile.
    await page.getByLabel('Pick a GGUF file').waitFor()
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.getByRole('alert').getByText(why).waitFor()
    world.handlers.delete(path)
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.getByRole('button', { name: /^Load tiny/ }).waitFor()
  })
})

/** In the first failure the server answers; in the last one it does not. */
const [answered, unanswered] = [failures[0]!, failures.at(-1)!]
test.each([answered, unanswered])('after a failure (%s) the model loads', async (_, handler, why) => {
  world.handlers.set(path, handler)
  const page = await world.visit({ serviceWorkers: 'block' })
  await page.goto(world.url)
  await page.getByRole('alert').getByText(why).waitFor()
  expect((await new AxeBuilder({ page }).analyze()).violations).toEqual([])
  world.handlers.delete(path)
  await page.getByRole('button', { name: 'Try again' }).click()
  await page.getByRole('button', { name: /^Load tiny/ }).click()
  await page.getByText('backend').waitFor()
  await page.context().close()
})

test('a server that fails later does not remove the model', async () => {
  const page = await world.visit()
  await page.goto(world.url)
  await page.getByRole('button', { name: /^Load tiny/ }).click()
  await page.getByText('the next visit needs no network').waitFor()
  for (const handler of [text(500, ''), text(200, '<!doctype html>', 'text/html')]) {
    world.handlers.set(path, handler)
    await page.reload()
    await page.getByText('backend').waitFor()
  }
  // A 404 does: the page offers it no more.
  world.handlers.set(path, text(404, ''))
  await page.reload()
  await page.getByText('No model comes with this page.').waitFor()
  await page.context().close()
})

test('a build of the core that cannot be fetched is reported as such, and not as missing relaxed SIMD', async () => {
  const page = await world.visit({ serviceWorkers: 'block' })
  await page.route('**/page/relaxed*.wasm', (route) => route.fulfill({ status: 500, body: '' }))
  await page.goto(world.url)
  await page.getByRole('button', { name: /^Load tiny/ }).click()
  await page
    .getByRole('alert')
    .getByText(/relaxed.*answers 500/)
    .waitFor()
  await page.unroute('**/page/relaxed*.wasm')
  await page.getByRole('button', { name: /^Load tiny/ }).click()
  await page.getByText('backend').waitFor()
  await page.context().close()
})

test('a script that cannot be fetched is reported', async () => {
  const page = await world.visit({ serviceWorkers: 'block' })
  await page.route('**/page/engine-*.js', (route) => route.fulfill({ status: 404, body: '' }))
  await page.goto(world.url)
  await page.getByRole('button', { name: /^Load tiny/ }).click()
  await page
    .getByRole('alert')
    .getByText(/its script did not load.*reload the page/)
    .waitFor()
  await page.context().close()
})

test('a manifest of another model replaces the last one in the offer', async () => {
  const page = await world.visit()
  await page.goto(world.url)
  await page.getByRole('button', { name: /^Load tiny/ }).waitFor()
  world.handlers.set(path, (_, response) => sendJson(response, manifestOf(world.model, 'other')))
  await page.reload()
  await page.getByRole('button', { name: /^Load other/ }).waitFor()
  await page.context().close()
})
