/** A download interrupted by closing a tab resumes in the next, if the file is unchanged. */
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import {
  manifestOf,
  modelPath,
  rangesOf,
  type StaticPage,
  sendJson,
  sendModel,
  staticPage,
} from '../helpers/static-page.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

let world: StaticPage
beforeAll(async () => {
  world = await staticPage()
})
afterEach(() => world.reset())
afterAll(() => world?.close())

const load = (page: Page) => page.getByRole('button', { name: /^Load tiny/ }).click()
const loaded = (page: Page) => page.getByText('backend').waitFor()

/** Loads until the page shows that some of the file is here, and no more comes. */
async function halfLoaded(page: Page, bytes: Buffer, etag: string, begin = load): Promise<number> {
  const holdAfter = bytes.length >> 1
  world.handlers.set(modelPath, sendModel(bytes, { etag, holdAfter }))
  await page.goto(world.url)
  await begin(page)
  const held = `${Math.round(holdAfter / 1e6) >= 10 ? Math.round(holdAfter / 1e6) : (holdAfter / 1e6).toFixed(1)} MB of`
  await page.getByText(`Fetching: ${held}`).waitFor()
  return holdAfter
}

const startOf = (range: string | undefined) => Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0)

test('a reload in the middle resumes by range, while the old tab may still hold the file', async () => {
  const page = await world.visit({ serviceWorkers: 'block' })
  const half = await halfLoaded(page, world.model, '"one"')
  world.handlers.set(modelPath, sendModel(world.model, { etag: '"one"' }))
  await page.reload()
  await load(page)
  await loaded(page)
  const ranges = rangesOf(world)
  expect(ranges).toHaveLength(2)
  expect(startOf(ranges[1])).toBeGreaterThan(half / 2)
  expect(world.seen.findLast(({ path }) => path === modelPath)?.headers['if-range']).toBe('"one"')
  await page
    .getByText(/kept here: the next visit needs no network|Remove the model/)
    .first()
    .waitFor()
  await page.context().close()
})

test('a file that its last holder releases late is waited for', async () => {
  const page = await world.visit({ serviceWorkers: 'block' })
  await halfLoaded(page, world.model, '"one"')
  world.handlers.set(modelPath, sendModel(world.model, { etag: '"one"' }))
  await page.route('**/page/engine-*.js', async (route) => {
    const response = await route.fetch()
    const late = `{
      const create = FileSystemFileHandle.prototype.createSyncAccessHandle
      let refusals = 12
      FileSystemFileHandle.prototype.createSyncAccessHandle = function (...options) {
        if (this.name.endsWith('.bin') && refusals-- > 0) return Promise.reject(new DOMException('held', 'NoModificationAllowedError'))
        return create.apply(this, options)
      }
    };`
    await route.fulfill({ response, body: late + (await response.text()) })
  })
  await page.reload()
  await load(page)
  await loaded(page)
  expect(startOf(rangesOf(world)[1])).toBeGreaterThan(0)
  expect(await page.locator('.panel').textContent()).not.toMatch(/not kept/)
  await page.context().close()
})

test('a page that offers another model meanwhile fetches that one from the start', async () => {
  const page = await world.visit({ serviceWorkers: 'block' })
  await halfLoaded(page, world.model, '"one"')
  const other = Buffer.from(tinyGguf({ layers: 3, context: 512, seed: 9 }))
  world.handlers.set('/page/model.json', (_, response) => sendJson(response, manifestOf(other)))
  world.handlers.set(modelPath, sendModel(other, { etag: '"two"' }))
  await page.reload()
  await load(page)
  await loaded(page)
  expect(rangesOf(world)).toEqual([undefined, undefined])
  await page.context().close()
})

test.each<[string, Parameters<typeof sendModel>[1], number]>([
  ['heeds if-range', {}, 2],
  ['does not, and names the new file', { ifRange: false }, 3],
  ['has no ranges', { ranges: false }, 2],
])(
  'a part whose source changed its tag for the same model restarts where the server %s',
  async (_, sending, requests) => {
    const page = await world.visit({ serviceWorkers: 'block' })
    // The first half of another file, whose beginning is not this one's.
    const wrong = Buffer.from(world.model)
    wrong.fill(7, wrong.length >> 2, wrong.length >> 1)
    await halfLoaded(page, wrong, '"wrong"')
    world.handlers.set(modelPath, sendModel(world.model, { etag: '"right"', ...sending }))
    await page.reload()
    await load(page)
    await loaded(page)
    expect(rangesOf(world)).toHaveLength(requests)
    await page.context().close()
  },
)

test('mixed parts of two files that the server does not distinguish fail their hash, and are fetched again automatically', async () => {
  const page = await world.visit({ serviceWorkers: 'block' })
  const wrong = Buffer.from(world.model)
  wrong.fill(7, wrong.length >> 2, wrong.length >> 1)
  await halfLoaded(page, wrong, '"same"')
  world.handlers.set(modelPath, sendModel(world.model, { etag: '"same"' }))
  await page.reload()
  await load(page)
  await loaded(page)
  const ranges = rangesOf(world)
  expect([startOf(ranges[0]), startOf(ranges[1]) > 0, startOf(ranges[2])]).toEqual([0, true, 0])
  await page.context().close()
})

test('two tabs: the second waits for the first, says so, and fetches nothing itself', async () => {
  const first = await world.visit({ serviceWorkers: 'block' })
  await halfLoaded(first, world.model, '"one"')
  const second = await first.context().newPage()
  await second.goto(world.url)
  await load(second)
  await second.getByText('Waiting for another tab').waitFor()
  world.handlers.set(modelPath, sendModel(world.model, { etag: '"one"' }))
  // The first goes: the second takes over, from there.
  await first.close()
  await loaded(second)
  expect(rangesOf(world).map((range) => startOf(range) > 0)).toEqual([false, true])
  await second.context().close()
})

test('a model by its address resumes, too, by its tag, and restarts where it has none or another', async () => {
  const byAddress = async (page: Page) => {
    await page.getByLabel('or the address of a GGUF file').fill(`${world.url}${modelPath}`)
    await page.getByRole('button', { name: 'Fetch' }).click()
  }
  for (const [before, after, resumes] of [
    ['"one"', '"one"', true],
    ['"one"', '"two"', false],
    ['W/"one"', 'W/"one"', false],
  ] as const) {
    world.reset()
    const page = await world.visit({ serviceWorkers: 'block' })
    await halfLoaded(page, world.model, before, byAddress)
    world.handlers.set(modelPath, sendModel(world.model, { etag: after, ifRange: false }))
    await page.reload()
    await byAddress(page)
    await loaded(page)
    const last = rangesOf(world).at(-1)
    expect(startOf(last) > 0, `${before} ${after}: ${last}`).toBe(resumes)
    await page.context().close()
  }
})
