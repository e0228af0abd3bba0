/**
 * The page in the oldest browsers that docs/browser.md names: what they lack is taken from a Chromium before any script of the page runs, in the page and in its
 * workers alike.
 */
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { asked } from '../helpers/page.ts'
import { modelPath, rangesOf, type StaticPage, sendJson, sendModel, staticPage } from '../helpers/static-page.ts'

let world: StaticPage
beforeAll(async () => {
  world = await staticPage()
})
afterEach(() => world.reset())
afterAll(() => world?.close())

/**
 * Removes what one of Chrome 111, Firefox 121 and Safari 16.4 lacks; runs in a page and in a
 * worker.
 */
const older = `{
  const navigatorOf = Object.getPrototypeOf(navigator)
  const lacks = [
    [globalThis.ReadableStream?.prototype, Symbol.asyncIterator, 'values'],
    [globalThis.ReadableStream, 'from'],
    [AbortSignal, 'any'],
    [Promise, 'withResolvers', 'try'],
    [Array, 'fromAsync'],
    [Object, 'groupBy'],
    [Map, 'groupBy'],
    [Map.prototype, 'getOrInsert', 'getOrInsertComputed'],
    [Set.prototype, 'union', 'intersection', 'difference', 'symmetricDifference', 'isSubsetOf', 'isSupersetOf', 'isDisjointFrom'],
    [globalThis.Iterator?.prototype, 'map', 'filter', 'take', 'drop', 'flatMap', 'reduce', 'toArray', 'forEach', 'some', 'every', 'find'],
    [URL, 'parse', 'canParse'],
    [RegExp, 'escape'],
    [Error, 'captureStackTrace', 'isError'],
    [Math, 'f16round', 'sumPrecise'],
    [DataView.prototype, 'getFloat16', 'setFloat16'],
    [Uint8Array, 'fromBase64', 'fromHex'],
    [Uint8Array.prototype, 'toBase64', 'toHex', 'setFromBase64', 'setFromHex'],
    [ArrayBuffer.prototype, 'transfer', 'transferToFixedLength', 'resize'],
    [Atomics, 'waitAsync', 'pause'],
    [Intl, 'Segmenter', 'DurationFormat'],
    [Response.prototype, 'bytes'],
    [Blob.prototype, 'bytes'],
    [globalThis.FileSystemFileHandle?.prototype, 'createWritable', 'move'],
    [globalThis.FileSystemHandle?.prototype, 'move', 'remove'],
    [globalThis.StorageManager?.prototype, 'persist', 'estimate'],
    [globalThis.WebAssembly, 'Tag', 'Exception', 'JSTag', 'Suspending', 'promising'],
    [navigatorOf, 'gpu', 'deviceMemory', 'userAgentData', 'connection'],
    [globalThis, 'scheduler', 'Float16Array', 'Iterator', 'requestIdleCallback', 'TaskController', 'trustedTypes', 'cookieStore', 'EventSource'],
    [globalThis.Document?.prototype, 'startViewTransition'],
    [globalThis.Performance?.prototype, 'memory', 'measureUserAgentSpecificMemory'],
  ]
  for (const [of, ...names] of lacks)
    for (const name of of ? names : []) {
      delete of[name]
      if (name in of && Object.hasOwn(of, name)) throw new Error(String(name) + ' can not be taken away')
    }
  // Neither Firefox nor Safari knows of modes: one handle at a time.
  const files = globalThis.FileSystemFileHandle?.prototype
  const create = files?.createSyncAccessHandle
  if (create) files.createSyncAccessHandle = function () { return create.call(this) }
};`

async function olderVisit(more = ''): Promise<{ readonly page: Page; readonly errors: string[] }> {
  const page = await world.visit({ serviceWorkers: 'block' })
  await page.addInitScript({ content: older + more })
  for (const script of ['engine', 'compute'])
    await page.route(`**/page/${script}-*.js`, async (route) => {
      const response = await route.fetch()
      await route.fulfill({ response, body: older + more + (await response.text()) })
    })
  const errors: string[] = []
  page.on('pageerror', ({ message }) => errors.push(message))
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text())
  })
  return { page, errors }
}

const chunk = (content: string) => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`

test('the model loads and answers, prompts are packed, and an endpoint answers', async () => {
  world.handlers.set('/v1/models', (_, response) => sendJson(response, { data: [{ id: 'other' }] }))
  world.handlers.set('/v1/chat/completions', (_, response) =>
    response.writeHead(200, { 'content-type': 'text/event-stream' }).end(`${chunk('a')}${chunk('b')}data: [DONE]\n\n`),
  )
  const { page, errors } = await olderVisit()
  await page.goto(world.url)
  await page.getByRole('button', { name: /^Load tiny/ }).click()
  await page.getByText('backend').waitFor()
  expect(await page.locator('.panel').textContent()).not.toMatch(/not kept/)
  await asked(page, 'Hello')
  expect((await page.locator('.answer').textContent())!.length).toBeGreaterThan(0)
  await page.getByRole('radio', { name: 'Prepacking' }).check()
  await page.getByRole('button', { name: 'Run padded and packed' }).click()
  await page.locator('.outcome').waitFor()
  await page.getByRole('radio', { name: 'An endpoint' }).check()
  await page.getByRole('button', { name: 'List models' }).click()
  await page.getByText('Models: other').waitFor()
  await asked(page, 'Hello')
  expect(await page.locator('.answer').textContent()).toBe('ab')
  expect(await page.getByRole('alert').count()).toBe(0)
  await page.reload()
  await page.getByText('backend').waitFor()
  expect(errors).toEqual([])
  await page.context().close()
})

test('a download resumes, and one by its address is kept under its hash without being moved', async () => {
  // Nor are there locks on a page without TLS.
  const { page, errors } = await olderVisit('delete Object.getPrototypeOf(navigator).locks;')
  const byAddress = async () => {
    await page.getByLabel('or the address of a GGUF file').fill(`${world.url}${modelPath}`)
    await page.getByRole('button', { name: 'Fetch' }).click()
  }
  world.handlers.set(modelPath, sendModel(world.model, { etag: '"one"', holdAfter: world.model.length >> 1 }))
  await page.goto(world.url)
  await byAddress()
  await page.getByText(/^Fetching: .* MB of/).waitFor()
  world.handlers.set(modelPath, sendModel(world.model, { etag: '"one"' }))
  await page.reload()
  await byAddress()
  await page.getByText('backend').waitFor()
  expect(await page.locator('.panel').textContent()).not.toMatch(/not kept/)
  expect(rangesOf(world)).toEqual([undefined, expect.stringMatching(/^bytes=[1-9]\d*-$/)])
  await page.reload()
  await page.getByText('backend').waitFor()
  expect(rangesOf(world)).toHaveLength(2)
  expect(errors).toEqual([])
  await page.context().close()
})

test('an Enter that ends a composition does not send', async () => {
  const { page } = await olderVisit()
  await page.goto(world.url)
  await page.getByRole('button', { name: /^Load tiny/ }).click()
  await page.getByText('backend').waitFor()
  await page.getByLabel('Your message').fill('日本')
  // Safari sends this: the composition has ended, and only the key's code shows that it was one.
  await page.getByLabel('Your message').dispatchEvent('keydown', { key: 'Enter', keyCode: 229, isComposing: false })
  expect(await page.locator('.turn').count()).toBe(0)
  await page.getByLabel('Your message').press('Enter')
  await page.locator('.turn').waitFor()
  await page.context().close()
})
