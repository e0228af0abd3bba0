/** Tests a model from an address that the visitor gives, and the descriptions of models. */
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { manifestOf } from '../../web/manifest.ts'
import { asked, type PageWorld, pageWorld } from '../helpers/page.ts'

let world: PageWorld
beforeAll(async () => {
  world = await pageWorld()
})
afterAll(() => world?.close())

const address = 'https://models.example/some/other.gguf'

/** Another site, that lets pages of `origin` read its file. */
async function elsewhere(page: Page, origin: string): Promise<() => number> {
  const body = Buffer.from(await (await fetch(`${world.url}/page/model/tiny.gguf`)).arrayBuffer())
  let count = 0
  await page.route(address, (route) => {
    count++
    return route.fulfill({
      body,
      contentType: 'application/octet-stream',
      headers: { 'access-control-allow-origin': origin },
    })
  })
  return () => count
}

async function fetchFrom(page: Page, url: string): Promise<void> {
  await page.getByLabel('or the address of a GGUF file').fill(url)
  await page.getByRole('button', { name: 'Fetch' }).click()
}

test('a model from another site answers, is found again on the next visit, and is removed', async () => {
  const { page, errors } = await world.visit({ serviceWorkers: 'block' })
  const count = await elsewhere(page, '*')
  await page.goto(world.url)
  await fetchFrom(page, address)
  await page.locator('.facts').getByText('other', { exact: true }).waitFor()
  await asked(page, 'Hello')
  expect((await page.locator('.answer').textContent())!.length).toBeGreaterThan(0)
  await page.reload()
  await page.locator('.facts').getByText('other', { exact: true }).waitFor()
  expect(count()).toBe(1)
  await page.getByRole('button', { name: /Remove the model/ }).click()
  await page.reload()
  await page.getByRole('button', { name: /^Load tiny/ }).waitFor()
  expect(errors).toEqual([])
  await page.context().close()
})

test('an unreadable address shows why, and with full storage the model stays in memory', async () => {
  const { page } = await world.visit({ serviceWorkers: 'block' })
  await elsewhere(page, 'https://friends.example')
  await page.goto(world.url)
  await fetchFrom(page, address)
  await page
    .getByRole('alert')
    .getByText(/can't be reached.*allows this page \(CORS\).*load again/)
    .waitFor()
  await page.unroute(address)
  await page.route('**/page/engine-*.js', async (route) => {
    const response = await route.fetch()
    const full = `FileSystemSyncAccessHandle.prototype.write = () => { throw new DOMException('full', 'QuotaExceededError') };`
    await route.fulfill({ response, body: full + (await response.text()) })
  })
  await page.reload()
  await fetchFrom(page, `${world.url}/page/model/tiny.gguf`)
  await page.getByText(/not kept for the next visit: the browser grants this page too little storage/).waitFor()
  await asked(page, 'Hello')
  await page.context().close()
})

test('the description of a model is validated', () => {
  const file = { name: 'a.gguf', url: 'model/a.gguf', bytes: 10, sha256: 'ab'.repeat(32) }
  expect(manifestOf({ name: 'a', files: [file], more: 1 })).toEqual({ name: 'a', files: [file] })
  expect(manifestOf({ name: 'a', files: [file], predictor: file })?.predictor).toEqual(file)
  for (const wrong of [
    null,
    'a',
    {},
    { name: 'a', files: [] },
    { name: 1, files: [file] },
    { name: 'a', files: [{ ...file, sha256: 'ab' }] },
    { name: 'a', files: [{ ...file, bytes: -1 }] },
    { name: 'a', files: [{ ...file, bytes: '10' }] },
    { name: 'a', files: [null] },
    { name: 'a', files: [file], predictor: { ...file, url: undefined } },
  ])
    expect(manifestOf(wrong), JSON.stringify(wrong)).toBeUndefined()
})
