/** Failures while loading a model in a tab say what to do, or are recovered from. */
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { asked, type PageWorld, pageWorld, withModel } from '../helpers/page.ts'

let world: PageWorld
beforeAll(async () => {
  world = await pageWorld()
})
afterAll(() => world?.close())

/** Runs `code` before the engine's own, in its worker. */
async function inWorker(page: Page, code: string): Promise<void> {
  await page.route('**/page/engine-*.js', async (route) => {
    const response = await route.fetch()
    await route.fulfill({ response, body: `${code};${await response.text()}` })
  })
}

const load = async (page: Page) => {
  await page.goto(world.url)
  await page.getByRole('button', { name: /^Load tiny/ }).click()
}

test('a file with another SHA-256 is refused, and loads once it is right', async () => {
  const { page } = await world.visit({ serviceWorkers: 'block' })
  await page.route('**/page/model.json', async (route) => {
    const response = await route.fetch()
    const manifest = await response.json()
    manifest.files[0].sha256 = '0'.repeat(64)
    await route.fulfill({ response, json: manifest })
  })
  await load(page)
  await page
    .getByRole('alert')
    .getByText(/does not match its manifest.*load again/)
    .waitFor()
  await page.unroute('**/page/model.json')
  await withModel(page, world.url)
  await page.context().close()
})

test('with refused or full storage the model still loads, and the page says that it is not kept', async () => {
  const refused = `Object.getPrototypeOf(navigator.storage).getDirectory = () => Promise.reject(new DOMException('refused', 'SecurityError'))`
  const full = `FileSystemSyncAccessHandle.prototype.write = () => { throw new DOMException('full', 'QuotaExceededError') }`
  for (const [code, why] of [
    [refused, /not kept for the next visit: this browser stores no files/],
    [full, /not kept for the next visit: the browser grants this page too little storage/],
  ] as const) {
    const { page } = await world.visit({ serviceWorkers: 'block' })
    await inWorker(page, code)
    await load(page)
    await page.getByText(why).waitFor()
    await asked(page, 'Hello')
    await page.context().close()
  }
})

test('after a tab was closed in the middle, the next resumes from there', async () => {
  const { page } = await world.visit({ serviceWorkers: 'block' })
  await page.goto(world.url)
  // The first half, as a tab would have left it.
  const half = await page.evaluate(async () => {
    const manifest = await (await fetch('page/model.json')).json()
    const [file] = manifest.files
    const bytes = new Uint8Array(await (await fetch(`page/${file.url}`)).arrayBuffer())
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('foretoken', { create: true })
    const out = await (await folder.getFileHandle(`${file.sha256}.bin`, { create: true })).createWritable()
    await out.write(bytes.subarray(0, bytes.length >> 1))
    await out.close()
    return bytes.length >> 1
  })
  const ranges: (string | undefined)[] = []
  page.on('request', (request) => {
    if (request.url().includes('tiny.gguf')) ranges.push(request.headers().range)
  })
  await withModel(page, world.url)
  expect(ranges).toEqual([`bytes=${half}-`])
  await page.context().close()
})

test('without shared memory one thread runs, and the page says why', async () => {
  const { page } = await world.visit({ serviceWorkers: 'block' })
  await page.route(`${world.url}/`, async (route) => {
    const response = await route.fetch()
    const { 'cross-origin-opener-policy': _, 'cross-origin-embedder-policy': __, ...headers } = response.headers()
    await route.fulfill({ response, headers })
  })
  await withModel(page, world.url)
  expect(await page.locator('.facts').textContent()).not.toMatch(/-\dt/)
  await page.getByText(/not cross-origin isolated/).waitFor()
  expect(await page.getByLabel('Threads').count()).toBe(0)
  await page.context().close()
})

test('without relaxed SIMD the other build runs, and the page says so', async () => {
  const { page } = await world.visit({ serviceWorkers: 'block' })
  await page.route('**/page/relaxed*.wasm', (route) =>
    route.fulfill({ contentType: 'application/wasm', body: 'no wasm' }),
  )
  await withModel(page, world.url)
  expect(await page.locator('.facts').textContent()).toContain('wasm-simd128')
  await page.getByText(/no relaxed SIMD/).waitFor()
  await page.context().close()
})

test('an interrupted download, and a server that answers HTML', async () => {
  for (const [answer, why] of [
    [{ abort: true }, /can't be reached.*load again/],
    [{ html: true }, /answers 200 with text\/html, not the model/],
  ] as const) {
    const { page } = await world.visit({ serviceWorkers: 'block' })
    await page.route('**/page/model/tiny.gguf', (route) =>
      'abort' in answer ? route.abort() : route.fulfill({ contentType: 'text/html', body: '<p>hello</p>' }),
    )
    await load(page)
    await page.getByRole('alert').getByText(why).waitFor()
    await page.context().close()
  }
})

test('a file that is not a model, and one that is not a causal language model', async () => {
  const { page } = await world.visit()
  await page.goto(world.url)
  const pick = (name: string, buffer: Buffer) =>
    page.getByLabel('or pick a GGUF file').setInputFiles({ name, mimeType: 'application/octet-stream', buffer })
  await page.getByRole('button', { name: /^Load tiny/ }).waitFor()
  await pick('noise.gguf', Buffer.from('this is no model at all, but a text'))
  await page
    .getByRole('alert')
    .getByText(/GGUF|gguf/)
    .waitFor()
  await page.getByRole('button', { name: /^Load tiny/ }).waitFor()
  const { tinyGguf } = await import('../helpers/tiny-model.ts')
  const bert = tinyGguf({ metadata: { 'general.architecture': { text: 'bert' } } })
  await pick('bert.gguf', Buffer.from(bert))
  await page.getByRole('alert').getByText(/bert/).waitFor()
  await page.context().close()
})
