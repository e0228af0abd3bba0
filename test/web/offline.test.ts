/** Without a network after one visit: the page, its core, what the model is, and the weights. */
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { asked } from '../helpers/page.ts'
import { isolated, modelPath, type StaticPage, staticPage } from '../helpers/static-page.ts'

let world: StaticPage
beforeAll(async () => {
  world = await staticPage()
})
afterEach(() => world.reset())
afterAll(() => world?.close())

const kept = (page: Page) => page.getByText('Page and model are kept here: the next visit needs no network.').waitFor()

async function answersOffline(page: Page, url: string): Promise<void> {
  await page.context().setOffline(true)
  // Requests of the browser that bypass the emulation fail as well.
  world.down = true
  await page.goto(url)
  await page.getByText('backend').waitFor()
  await asked(page, 'Still there?')
  expect((await page.locator('.answer').last().textContent())!.length).toBeGreaterThan(0)
  world.down = false
}

test('one visit makes the page work offline, at any of its addresses', async () => {
  for (const path of ['/', '/index.html', '/?from=elsewhere#top']) {
    const page = await world.visit()
    await page.goto(world.url)
    await page.getByRole('button', { name: /^Load tiny/ }).click()
    await kept(page)
    await answersOffline(page, `${world.url}${path}`)
    await page.context().close()
  }
})

test('one visit is enough with a model from an address, too', async () => {
  world.handlers.set('/page/model.json', (_, response) => response.writeHead(404, isolated).end())
  const page = await world.visit()
  await page.goto(world.url)
  await page.getByLabel('or the address of a GGUF file').fill(`${world.url}${modelPath}`)
  await page.getByRole('button', { name: 'Fetch' }).click()
  await kept(page)
  await answersOffline(page, world.url)
  await page.context().close()
})

test('a first visit during a brief server failure is enough after a retry', async () => {
  world.handlers.set('/page/model.json', (_, response) => response.writeHead(500, isolated).end())
  const page = await world.visit()
  await page.goto(world.url)
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined))
  world.handlers.clear()
  await page.getByRole('button', { name: 'Try again' }).click()
  await page.getByRole('button', { name: /^Load tiny/ }).click()
  await kept(page)
  await answersOffline(page, world.url)
  await page.context().close()
})

test("a new version of the page keeps the model's description, though it could not fetch it", async () => {
  const page = await world.visit()
  await page.goto(world.url)
  await page.getByRole('button', { name: /^Load tiny/ }).click()
  await kept(page)
  // The same worker under another version, as a new build has it.
  const script = await (await fetch(`${world.url}/sw.js`)).text()
  const newer = script.replace(/[0-9a-f]{12}(?=`)/, (version) => `${version}0`)
  expect(newer).not.toBe(script)
  world.handlers.set('/sw.js', (_, response) =>
    response.writeHead(200, { ...isolated, 'content-type': 'text/javascript' }).end(newer),
  )
  world.handlers.set('/page/model.json', (_, response) => response.writeHead(503, isolated).end())
  await page.evaluate(async () => {
    const registration = await navigator.serviceWorker.ready
    const changed = new Promise((resolve) => navigator.serviceWorker.addEventListener('controllerchange', resolve))
    await registration.update()
    await changed
    // Old caches go when the new worker becomes active.
    while ((await caches.keys()).length > 1) await new Promise((resolve) => setTimeout(resolve, 20))
  })
  world.handlers.delete('/page/model.json')
  await answersOffline(page, world.url)
  await page.context().close()
})

test('a page that cannot have a service worker does not promise offline use', async () => {
  const page = await world.visit({ serviceWorkers: 'block' })
  await page.goto(world.url)
  await page.getByRole('button', { name: /^Load tiny/ }).click()
  await page.getByText('backend').waitFor()
  await asked(page, 'Hello')
  expect(await page.getByText('needs no network').count()).toBe(0)
  await page.context().close()
})
