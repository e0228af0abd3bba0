/** The page in a real browser: what a visitor does with it. */
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { expectAccessible } from '../helpers/accessible.ts'
import { asked, type PageWorld, pageWorld, questionOf, withModel } from '../helpers/page.ts'

let world: PageWorld
beforeAll(async () => {
  world = await pageWorld()
})
afterAll(() => world?.close())

const names = (page: Page) => page.locator('.turn').last().locator('.bar .name').allTextContents()

describe('in this tab', () => {
  test('the model loads, and answers in each mode with its times', async () => {
    const { page, errors } = await world.visit()
    await withModel(page, world.url)
    expect(await page.locator('.facts').textContent()).toMatch(/wasm-(relaxed|simd128)/)
    for (const mode of ['Exact', 'Predicted', 'Refined']) {
      await page.getByRole('radio', { name: mode }).check()
      await asked(page, questionOf(mode))
      const turn = page.locator('.turn').last()
      expect((await turn.locator('.answer').textContent())!.length).toBeGreaterThan(0)
      // The time of exact is measured beside it.
      expect(await names(page)).toEqual(mode === 'Exact' ? ['exact'] : [mode.toLowerCase(), 'exact'])
      expect(await turn.locator('.bar .value').first().textContent()).toMatch(/^[\d,.]+ m?s$/)
      const figures = await turn.locator('.figures').textContent()
      expect(figures).toMatch(/\d+ prompt tokens/)
      if (mode === 'Refined') expect(figures).toMatch(/exact from token \d+/)
      if (mode === 'Predicted') expect(await turn.locator('.early').count()).toBe(1)
      // A tiny context holds one such answer.
      await page.getByRole('button', { name: 'New chat' }).click()
    }
    expect(errors).toEqual([])
    await page.context().close()
  })

  test('a second visit finds the model, and so does one without a network', async () => {
    const { page, errors } = await world.visit()
    await withModel(page, world.url)
    await page.waitForFunction(() => navigator.serviceWorker.controller !== null)
    await page.reload()
    await page.getByText('backend').waitFor()
    await page.context().setOffline(true)
    await page.reload()
    await page.getByText('backend').waitFor()
    await asked(page, 'Still there?')
    expect((await page.locator('.answer').last().textContent())!.length).toBeGreaterThan(0)
    // Only a request for an update of the page fails in the browser without a network.
    expect(errors.filter((text) => !text.includes('ERR_INTERNET_DISCONNECTED'))).toEqual([])
    await page.context().setOffline(false)
    await page.getByRole('button', { name: /Remove the model/ }).click()
    await page.reload()
    await page.getByRole('button', { name: /^Load tiny/ }).waitFor()
    await page.context().close()
  })

  test('an answer stops on request, and the next one runs', async () => {
    const { page } = await world.visit()
    await withModel(page, world.url)
    // It stops as soon as any text is there, since a tiny model is quick.
    await page.evaluate(() => {
      new MutationObserver((_, observer) => {
        const stop = [...document.querySelectorAll('button')].find(({ textContent }) => textContent === 'Stop')
        if (!stop || !document.querySelector('.answer')?.textContent) return
        observer.disconnect()
        stop.click()
      }).observe(document.body, { childList: true, subtree: true, characterData: true })
    })
    await page.getByLabel('Your message').fill(questionOf('Stop'))
    await page.getByLabel('Your message').press('Enter')
    await page.getByText('stopped').waitFor()
    await page.getByRole('button', { name: 'New chat' }).click()
    await asked(page, 'Hello')
    expect((await page.locator('.answer').textContent())!.length).toBeGreaterThan(100)
    await page.context().close()
  })

  test('prompts are read padded and packed, from the field and from a dropped file', async () => {
    const { page, errors } = await world.visit()
    await withModel(page, world.url)
    await page.getByRole('radio', { name: 'Prepacking' }).check()
    const dropped = ['a', 'bb bb', 'a line that is a good deal longer than all others'].join('\n')
    const data = await page.evaluateHandle((text) => {
      const transfer = new DataTransfer()
      transfer.items.add(new File([text], 'prompts.txt', { type: 'text/plain' }))
      return transfer
    }, dropped)
    await page.dispatchEvent('.drop', 'drop', { dataTransfer: data })
    await page.waitForFunction(
      (text) =>
        document.querySelector('textarea')?.value === text ||
        [...document.querySelectorAll('textarea')].some(({ value }) => value === text),
      dropped,
    )
    await page.getByRole('button', { name: 'Run padded and packed' }).click()
    await page.locator('.outcome').waitFor()
    const told = (await page.locator('.outcome').textContent())!
    const [, rows, nothing] = /Padded: (\d+) rows, (\d+) of them padding/.exec(told)!
    const [, packed] = /Packed: (\d+) rows/.exec(told)!
    expect(Number(rows) - Number(nothing)).toBe(Number(packed))
    expect(Number(nothing)).toBeGreaterThan(0)
    await page.getByLabel('Prompts, one per line').fill('only one')
    await page.getByRole('button', { name: 'Run padded and packed' }).click()
    await page
      .getByRole('alert')
      .getByText(/give 2 to 64/)
      .waitFor()
    expect(errors).toEqual([])
    await page.context().close()
  })
})

test('it has no accessibility violation, light or dark, and fits a phone', async () => {
  const { page } = await world.visit({ viewport: { width: 360, height: 740 }, reducedMotion: 'reduce' })
  await page.goto(world.url)
  await page.getByRole('button', { name: /^Load tiny/ }).waitFor()
  await expectAccessible(page, 'before the model')
  await withModel(page, world.url)
  await page.getByRole('radio', { name: 'Refined' }).check()
  await asked(page, questionOf('Refined'))
  await expectAccessible(page, 'chat')
  await page.getByRole('radio', { name: 'Prepacking' }).check()
  await page.getByRole('button', { name: 'Run padded and packed' }).click()
  await page.locator('.outcome').waitFor()
  await expectAccessible(page, 'prepacking')
  await page.getByRole('radio', { name: 'An endpoint' }).check()
  await expectAccessible(page, 'endpoint')
  await page.context().close()
})

test('everything can be done by keyboard', async () => {
  const { page } = await world.visit()
  await page.goto(world.url)
  const load = page.getByRole('button', { name: /^Load tiny/ })
  await load.waitFor()
  for (let tab = 0; tab < 10 && !(await load.evaluate((node) => node === document.activeElement)); tab++)
    await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  await page.getByText('backend').waitFor()
  await page.getByRole('radio', { name: 'Exact' }).focus()
  await page.keyboard.press('ArrowRight')
  expect(await page.getByRole('radio', { name: 'Predicted' }).isChecked()).toBe(true)
  await page.getByLabel('Your message').focus()
  await page.keyboard.type('By keys.')
  await page.keyboard.press('Enter')
  await page.locator('.answer').waitFor()
  await page.context().close()
})

describe('an endpoint', () => {
  test('answers in place of the tab', async () => {
    const { page, errors } = await world.visit()
    await page.goto(world.url)
    await page.getByRole('radio', { name: 'An endpoint' }).check()
    await page.getByRole('button', { name: 'List models' }).click()
    await page.getByText('Models: tiny').waitFor()
    await asked(page, 'Hello over there')
    expect(await names(page)).toEqual(['exact'])
    expect((await page.locator('.answer').textContent())!.length).toBeGreaterThan(0)
    expect(errors).toEqual([])
    await page.context().close()
  })

  test.each([
    ['a web page', '/', /answers with a web page, not OpenAI's API/],
    ['nothing', '/nowhere', /answers 404/],
  ])('that is %s is reported', async (_, path, why) => {
    const { page } = await world.visit()
    await page.goto(world.url)
    await page.getByRole('radio', { name: 'An endpoint' }).check()
    // The page's own address as an endpoint: `/` itself answers HTML for every path below.
    await page.route('**/nowhere/**', (route) =>
      route.fulfill({ status: 404, json: { error: { message: 'no such thing' } } }),
    )
    await page.route('**/as-html/**', (route) => route.fulfill({ contentType: 'text/html', body: '<h1>hello</h1>' }))
    const address = path === '/' ? '/as-html' : path
    await page.getByLabel('Address').fill(`${world.url}${address}`)
    await page.getByRole('button', { name: 'List models' }).click()
    await page.getByRole('alert').getByText(why).waitFor()
    await page.context().close()
  })
})
