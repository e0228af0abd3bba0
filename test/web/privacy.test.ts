/**
 * Checks that text entered for one place is never sent to another: a chat in the tab, a chat with an
 * endpoint, drafts, lists of prompts, keys.
 */
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { asked } from '../helpers/page.ts'
import { type StaticPage, staticPage } from '../helpers/static-page.ts'

interface Elsewhere {
  readonly url: string
  readonly got: { readonly headers: IncomingMessage['headers']; body: string; readonly path: string }[]
  redirect: string | undefined
  close(): Promise<void>
}

/** An endpoint of another origin that answers whatever comes, or sends it on. */
async function elsewhere(): Promise<Elsewhere> {
  const got: Elsewhere['got'] = []
  const server = createServer((request, response) => {
    const open = { 'access-control-allow-origin': '*', 'access-control-allow-headers': 'authorization, content-type' }
    if (request.method === 'OPTIONS') return response.writeHead(204, open).end()
    const entry = { headers: request.headers, body: '', path: request.url! }
    got.push(entry)
    request.on('data', (bytes) => (entry.body += bytes))
    return request.on('end', () => {
      if (world2.redirect) return response.writeHead(307, { ...open, location: world2.redirect + request.url }).end()
      if (request.url!.endsWith('/models'))
        return response.writeHead(200, open).end(JSON.stringify({ data: [{ id: 'other' }] }))
      const text = JSON.stringify({ choices: [{ delta: { content: 'answer of elsewhere' }, finish_reason: 'stop' }] })
      return response.writeHead(200, { ...open, 'content-type': 'text/event-stream' }).end(`data: ${text}\n\n`)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const world2: Elsewhere = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    got,
    redirect: undefined,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  }
  return world2
}

let world: StaticPage
let first: Elsewhere
let second: Elsewhere
beforeAll(async () => {
  ;[world, first, second] = await Promise.all([staticPage(), elsewhere(), elsewhere()])
})
afterEach(() => {
  world.reset()
  for (const one of [first, second]) {
    one.got.length = 0
    one.redirect = undefined
  }
})
afterAll(() => Promise.all([world?.close(), first?.close(), second?.close()]))

const place = (page: Page, name: 'This tab' | 'An endpoint') => page.getByRole('radio', { name }).check()
const message = (page: Page) => page.getByLabel('Your message')
const turns = (page: Page) => page.locator('.turn').count()
const all = (one: Elsewhere) => JSON.stringify(one.got)

async function connect(page: Page, to: Elsewhere): Promise<void> {
  await page.getByLabel('Address').fill(`${to.url}/v1`)
  await page.getByRole('button', { name: 'List models' }).click()
  await page.getByText('Models: other').waitFor()
}

async function inTab(page: Page): Promise<void> {
  await page.goto(world.url)
  await page.getByRole('button', { name: /^Load tiny/ }).click()
  await page.getByText('backend').waitFor()
}

test('a chat in the tab is not sent to an endpoint, and is restored on return', async () => {
  const page = await world.visit()
  await inTab(page)
  await asked(page, 'the tab alone may know this')
  await message(page).fill('nor this draft')
  await page.getByRole('radio', { name: 'Prepacking' }).check()
  await page.getByLabel('Prompts, one per line').fill('nor this list\nof prompts')
  await place(page, 'An endpoint')
  expect(await turns(page)).toBe(0)
  expect(await message(page).inputValue()).toBe('')
  await connect(page, first)
  await page.getByText(/new chat with 127\.0\.0\.1.*nothing that was said elsewhere is sent there/).waitFor()
  await asked(page, 'for the endpoint')
  expect(first.got.map(({ body }) => (body ? JSON.parse(body).messages : undefined))).toEqual([
    undefined,
    [{ role: 'user', content: 'for the endpoint' }],
  ])
  expect(all(first)).not.toMatch(/tab alone|draft|list/)
  await place(page, 'This tab')
  await page.getByRole('radio', { name: 'Chat' }).check()
  expect(await turns(page)).toBe(1)
  await page.getByText('the tab alone may know this').waitFor()
  expect(await page.getByText('for the endpoint').count()).toBe(0)
  expect(await message(page).inputValue()).toBe('nor this draft')
  // Nothing went anywhere but to the page's own server, whose files it is made of.
  expect(world.seen.filter(({ body }) => body !== '')).toEqual([])
  await page.context().close()
})

test('changing the address in the middle of a chat begins another; the old one is restored with its address', async () => {
  const page = await world.visit()
  await page.goto(world.url)
  await place(page, 'An endpoint')
  await connect(page, first)
  await asked(page, 'for the first')
  await message(page).fill('a draft for the first')
  // Without asking for its models: the name of the model stands.
  await page.getByLabel('Address').fill(`${second.url}/v1`)
  expect(await turns(page)).toBe(0)
  expect(await message(page).inputValue()).toBe('')
  await asked(page, 'for the second')
  expect(all(second)).toMatch(/for the second/)
  expect(all(second)).not.toMatch(/for the first|answer of elsewhere/)
  await page.getByLabel('Address').fill(`${first.url}/v1/`)
  await page.getByText('for the first').waitFor()
  expect(await message(page).inputValue()).toBe('a draft for the first')
  await asked(page, 'again for the first')
  expect(JSON.parse(first.got.at(-1)!.body).messages.map(({ content }: { content: string }) => content)).toEqual([
    'for the first',
    'answer of elsewhere',
    'again for the first',
  ])
  expect(all(first)).not.toMatch(/for the second/)
  await page.context().close()
})

test('an answer that runs in the tab continues while an endpoint is asked', async () => {
  const page = await world.visit()
  await inTab(page)
  await message(page).fill('a long answer, please')
  await page.getByRole('button', { name: 'Send' }).click()
  await page.locator('.turn').waitFor()
  await place(page, 'An endpoint')
  await connect(page, first)
  await asked(page, 'for the endpoint')
  expect(await page.locator('.answer').textContent()).toBe('answer of elsewhere')
  await place(page, 'This tab')
  await page.locator('[role=log][aria-busy=false]').waitFor()
  expect(await turns(page)).toBe(1)
  expect(await page.locator('.answer').textContent()).not.toContain('answer of elsewhere')
  expect(all(first)).not.toContain('a long answer')
  await page.context().close()
})

test('a key is sent to the origin for which it was typed, and to no other', async () => {
  const page = await world.visit()
  await page.goto(world.url)
  await place(page, 'An endpoint')
  await page.getByLabel('Address').fill(`${first.url}/v1`)
  await page.getByLabel('Key').fill('secret of the first')
  await connect(page, first)
  await connect(page, second)
  expect(await page.getByLabel('Key').inputValue()).toBe('')
  await asked(page, 'for the second')
  expect(first.got[0]!.headers.authorization).toBe('Bearer secret of the first')
  expect(all(second)).not.toContain('secret of the first')
  await page.getByLabel('Address').fill(`${first.url}/v1`)
  expect(await page.getByLabel('Key').inputValue()).toBe('secret of the first')
  // A page that is loaded again knows none.
  await page.reload()
  await place(page, 'An endpoint')
  expect(await page.getByLabel('Key').inputValue()).toBe('')
  await page.context().close()
})

test('an endpoint that redirects gets the question, and the target neither question nor key', async () => {
  const page = await world.visit()
  await page.goto(world.url)
  await place(page, 'An endpoint')
  await connect(page, first)
  await page.getByLabel('Key').fill('secret of the first')
  first.redirect = second.url
  await asked(page, 'for the first')
  await page
    .getByRole('alert')
    .getByText(/redirects elsewhere, and nothing was sent there/)
    .waitFor()
  await page.getByRole('button', { name: 'List models' }).click()
  await page
    .getByRole('alert')
    .getByText(/models redirects elsewhere/)
    .waitFor()
  expect(second.got).toEqual([])
  await page.context().close()
})
