/** Several models in the page: what the menu says of them, and switching from one to another. */
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { manifestsOf } from '../../web/manifest.ts'
import { fitOf } from '../../web/model-fit.ts'
import { expectAccessible } from '../helpers/accessible.ts'
import { questionOf, talkative, tiny } from '../helpers/page.ts'
import { manifestOf, type StaticPage, sendJson, sendModel, staticPage } from '../helpers/static-page.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

const paths = { first: '/page/model/tiny.gguf', second: '/page/model/second.gguf', short: '/page/model/short.gguf' }
const licensed = { licence: 'Apache-2.0', terms: 'https://licence.example/' }

let world: StaticPage
let files: Record<keyof typeof paths, Buffer>
beforeAll(async () => {
  world = await staticPage()
  const { seed } = await talkative()
  files = {
    first: Buffer.from(tinyGguf({ ...tiny, seed })),
    second: Buffer.from(tinyGguf({ ...tiny, seed: seed + 1 })),
    short: Buffer.from(tinyGguf({ layers: 2, context: 64 })),
  }
})
afterEach(() => world.reset())
afterAll(() => world?.close())

type Entry = ReturnType<typeof manifestOf> & Partial<typeof licensed> & { memory?: number }

function entry(name: keyof typeof paths, more: Partial<Entry> = {}): Entry {
  const [file] = manifestOf(files[name]).files
  return { name, files: [{ ...file!, url: paths[name].replace('/page/', '') }], ...more }
}

/** Opens a page that offers the models. */
async function offering(models: readonly Entry[], page?: Page): Promise<Page> {
  world.handlers.set('/page/model.json', (_, response) => sendJson(response, { models }))
  for (const name of ['first', 'second', 'short'] as const) world.handlers.set(paths[name], sendModel(files[name]))
  const shown = page ?? (await world.visit({ serviceWorkers: 'block' }))
  await shown.goto(world.url)
  return shown
}

const button = (page: Page, name: string) => page.getByRole('button', { name: new RegExp(`^Load ${name} `) })
const inMemory = (page: Page, name: string) => page.locator('.facts dd').filter({ hasText: new RegExp(`^${name}$`) })

async function loaded(page: Page, name: string): Promise<void> {
  await button(page, name).click()
  await inMemory(page, name).waitFor()
}

/** Asks, and stops the answer once there is some of it. */
async function asked(page: Page, question: string): Promise<void> {
  const before = await page.locator('.turn').count()
  await page.getByLabel('Your message').fill(question)
  await page.getByRole('button', { name: 'Send' }).click()
  await page.locator('.turn').nth(before).waitFor()
  await page.waitForFunction(
    () =>
      [...document.querySelectorAll('.answer')].at(-1)?.textContent ||
      document.querySelector('[role=log][aria-busy=false]'),
  )
  await page
    .getByRole('button', { name: 'Stop' })
    .click({ timeout: 1000 })
    .catch(() => {})
  await page.locator('[role=log][aria-busy=false]').waitFor()
}

const openMenu = (page: Page) => page.getByText('Other models').click()

test('the menu says what each model takes, and the chat goes on with the one that was chosen', async () => {
  const page = await offering([entry('first', licensed), entry('second', { memory: 5e9 }), entry('short')])
  const menu = page.getByRole('list', { name: 'Models' })
  await menu.waitFor()
  expect(await page.getByRole('link', { name: 'Apache-2.0' }).getAttribute('href')).toBe(licensed.terms)
  expect(await menu.textContent()).toMatch(/licence not stated.*5000 MB.*more than the 4295 MB of a tab/)
  expect(await button(page, 'second').isDisabled()).toBe(true)

  await loaded(page, 'first')
  await offering([entry('first'), entry('second'), entry('short')], page)
  await inMemory(page, 'first').waitFor()
  await asked(page, questionOf('Exact'))
  await openMenu(page)
  expect(await menu.textContent()).toMatch(/first.*in memory/)
  await loaded(page, 'second')
  await page.getByText(/^second has read this chat: \d+ tokens\.$/).waitFor()
  expect(await page.locator('.turn').count()).toBe(1)
  await page.getByLabel('Your message').fill('And now?')
  await page.getByRole('button', { name: 'Send' }).click()
  await page
    .locator('.turn')
    .nth(1)
    .locator('.figures')
    .getByText(/[1-9]\d* from the cache/)
    .waitFor()
  await page.locator('[role=log][aria-busy=false]').waitFor()
  await page.getByText('From here on, second answers.').waitFor()
  await expectAccessible(page, 'after a switch')

  // This one cannot hold the chat, and says so.
  await loaded(page, 'short')
  await page.getByText(/^short can’t go on with this chat: .*\d+ tokens/).waitFor()
  await page.getByRole('button', { name: 'New chat' }).click()
  await page.getByText(/can’t go on/).waitFor({ state: 'detached' })

  // The last choice is the next visit's, and what is stored is listed although it is offered no more.
  world.handlers.set('/page/model.json', (_, response) =>
    sendJson(response, { models: [entry('first'), entry('short')] }),
  )
  await page.reload()
  await inMemory(page, 'short').waitFor()
  await openMenu(page)
  await page.getByRole('button', { name: 'Remove second from this browser' }).click()
  await button(page, 'second').waitFor({ state: 'detached' })
  await page.getByRole('button', { name: 'Remove the model from this browser' }).click()
  await button(page, 'short').waitFor()
  expect(await page.getByText('backend').count()).toBe(0)
  await loaded(page, 'first')
  await page.context().close()
})

test('whatever goes wrong with a switch, a model answers afterwards', async () => {
  const models = [entry('first'), entry('second'), entry('short')]
  const page = await offering(models)
  await loaded(page, 'first')
  await openMenu(page)

  // It is missing, or is another file than the manifest says.
  const { sha256: other } = entry('first').files[0]!
  for (const [handler, why] of [
    [undefined, /answers 404.*is the address right/],
    [sendModel(files.first), /does not match its manifest/],
  ] as const) {
    if (handler) world.handlers.set(paths.second, handler)
    else world.handlers.set(paths.second, (_, response) => response.writeHead(404).end())
    await button(page, 'second').click()
    await page.getByRole('alert').getByText(why).waitFor()
    await inMemory(page, 'first').waitFor()
  }
  expect(other).not.toBe(entry('second').files[0]!.sha256)
  await asked(page, 'Still there?')
  expect(await page.locator('.turn .failed').count()).toBe(0)

  // It is a model that cannot run: the one before is loaded again.
  const broken = Buffer.from(tinyGguf({ metadata: { 'general.architecture': { text: 'bert' } } }))
  world.handlers.set(paths.second, sendModel(broken))
  const [file] = manifestOf(broken).files
  const bert = { ...entry('second'), name: 'bert', files: [{ ...file!, url: entry('second').files[0]!.url }] }
  world.handlers.set('/page/model.json', (_, response) => sendJson(response, { models: [...models, bert] }))
  await page.reload()
  await inMemory(page, 'first').waitFor()
  await openMenu(page)
  await button(page, 'bert').click()
  await page.getByRole('alert').getByText(/bert/).waitFor()
  await inMemory(page, 'first').waitFor()
  await asked(page, 'And now?')
  expect(await page.locator('.turn .failed').count()).toBe(0)

  // While the new one is fetched the old one answers, until that is cancelled.
  world.handlers.set(paths.second, sendModel(files.second, { holdAfter: 1000 }))
  await button(page, 'second').click()
  await page.getByText(/first answers until it is here/).waitFor()
  await asked(page, 'Meanwhile?')
  await page.getByRole('button', { name: 'Cancel' }).click()
  await inMemory(page, 'first').waitFor()
  expect(await page.getByRole('alert').count()).toBe(0)

  // After two quick switches the last one stays, and a reload in the middle finds the model before.
  await button(page, 'second').click()
  await loaded(page, 'short')
  await button(page, 'second').click()
  await page.getByText(/short answers until it is here/).waitFor()
  await page.reload()
  await inMemory(page, 'short').waitFor()
  await openMenu(page)
  world.handlers.set(paths.second, sendModel(files.second))
  await page.evaluate(() => {
    for (const name of ['second', 'first', 'second', 'first'])
      [...document.querySelectorAll('button')]
        .find(({ textContent }) => textContent?.startsWith(`Load ${name}`))
        ?.click()
  })
  await inMemory(page, 'first').waitFor()
  await asked(page, 'Who is there?')
  expect(await page.locator('.turn .failed').count()).toBe(0)
  await page.context().close()
})

test('a switch while an answer streams stops it, and keeps what came of it', async () => {
  const page = await offering([entry('first'), entry('second')])
  await loaded(page, 'first')
  await openMenu(page)
  await page.evaluate(() => {
    new MutationObserver((_, observer) => {
      const load = [...document.querySelectorAll('button')].find(({ textContent }) =>
        textContent?.startsWith('Load second'),
      )
      if (!load || !document.querySelector('.answer')?.textContent) return
      observer.disconnect()
      load.click()
    }).observe(document.body, { childList: true, subtree: true, characterData: true })
  })
  await page.getByLabel('Your message').fill(questionOf('Stop'))
  await page.getByLabel('Your message').press('Enter')
  await inMemory(page, 'second').waitFor()
  await page.getByText('stopped: the model was changed').waitFor()
  expect((await page.locator('.answer').textContent())!.length).toBeGreaterThan(0)
  await page.getByText(/^second has read this chat/).waitFor()
  await asked(page, 'Go on.')
  expect(await page.locator('.turn .failed').count()).toBe(0)
  await page.context().close()
})

test('an engine that stops is started again with the next model', async () => {
  const page = await world.visit({ serviceWorkers: 'block' })
  const failing = `self.addEventListener('message', ({ data }) => {
    if (data.type === 'answer' && data.messages.at(-1).content === 'Fail.') setTimeout(() => { throw new Error('no more') })
  });`
  await page.route('**/page/engine-*.js', async (route) => {
    const response = await route.fetch()
    await route.fulfill({ response, body: failing + (await response.text()) })
  })
  await offering([entry('first'), entry('second')], page)
  await loaded(page, 'first')
  await page.getByLabel('Your message').fill('Fail.')
  await page.getByRole('button', { name: 'Send' }).click()
  await page
    .getByLabel('The model in this tab')
    .getByText(/no more\); load a model again/)
    .waitFor()
  await loaded(page, 'second')
  await asked(page, 'Hello')
  expect(await page.locator('.turn .failed').count()).toBe(1)
  await page.context().close()
})

test('without room in the storage the model before makes room in memory, and two tabs share what is stored', async () => {
  const page = await offering([entry('first'), entry('second')])
  await loaded(page, 'first')
  const other = await page.context().newPage()
  await offering([entry('first'), entry('second')], other)
  await inMemory(other, 'first').waitFor()
  await openMenu(other)
  // A tab behind another is slow.
  await page.bringToFront()
  const full = `{
    FileSystemSyncAccessHandle.prototype.write = () => 0
  };`
  await page.route('**/page/engine-*.js', async (route) => {
    const response = await route.fetch()
    await route.fulfill({ response, body: full + (await response.text()) })
  })
  await page.reload()
  await inMemory(page, 'first').waitFor()
  await openMenu(page)
  await loaded(page, 'second')
  await page.getByText(/not kept for the next visit: the browser grants this page too little storage/).waitFor()
  await asked(page, 'Hello')
  expect(await page.locator('.turn .failed').count()).toBe(0)
  await other.bringToFront()
  // The other tab stores it, and removes the one that this tab could go back to.
  await loaded(other, 'second')
  await other.getByRole('button', { name: 'Remove first from this browser' }).click()
  await other.getByText(/first.*not fetched yet/).waitFor()
  await asked(other, 'Hello')
  await page.bringToFront()
  world.handlers.set(paths.first, (_, response) => response.writeHead(404).end())
  await button(page, 'first').click()
  await page
    .getByRole('alert')
    .getByText(/answers 404/)
    .waitFor()
  await inMemory(page, 'second').waitFor()
  await asked(page, 'Still there?')
  expect(await page.locator('.turn .failed').count()).toBe(0)
  await page.context().close()
})

test.each([
  ['no list', { models: {} }],
  ['an empty one', { models: [] }],
  ['too many', { models: Array.from({ length: 101 }, () => ({ name: 'a', files: [] })) }],
  ['one without files', { models: [{ name: 'a', files: [] }] }],
  ['nothing', null],
])('a manifest with %s is refused', (_, value) => expect(manifestsOf(value)).toBeUndefined())

test('what a manifest says beside files is taken only if it is what it should be', () => {
  const file = { name: 'a', url: 'a', bytes: 1, sha256: '0'.repeat(64) }
  const about = { licence: 5, terms: 'javascript:alert(1)', memory: -1 }
  expect(manifestsOf({ models: [{ name: 'a', files: [file], ...about }] })).toEqual([{ name: 'a', files: [file] }])
  expect(manifestsOf({ name: 'a', files: [file] })).toHaveLength(1)
})

test('a model is said to fit by what it takes and what the device has', () => {
  const file = { name: 'a', url: 'a', bytes: 1e9, sha256: '0'.repeat(64) }
  const model = { name: 'a', files: [file] }
  expect(fitOf(model, 8)).toMatchObject({ kind: 'fits', needed: 1.16e9 })
  expect(fitOf(model, 1)).toMatchObject({ kind: 'tight', limit: 2 ** 30 })
  expect(fitOf(model, undefined).kind).toBe('fits')
  expect(fitOf({ ...model, memory: 2 ** 32 + 1 }, 64)).toMatchObject({ kind: 'never', limit: 2 ** 32 })
})
