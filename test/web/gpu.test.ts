/** The page where there is a GPU: SwiftShader's, which a browser has in software. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type PageWorld, pageWorld, softwareGpu, withModel } from '../helpers/page.ts'

let world: PageWorld
beforeAll(async () => {
  world = await pageWorld(softwareGpu)
})
afterAll(() => world?.close())

test('the model moves to the GPU and back, and answers there', async () => {
  const { page, errors } = await world.visit()
  page.setDefaultTimeout(120_000)
  await withModel(page, world.url)
  const build = () => page.locator('.facts').textContent()
  // The model is not moved to the GPU automatically.
  expect(await build()).toMatch(/wasm-/)
  await page.getByLabel('Runs on').selectOption('gpu')
  await page.getByText(/webgpu .*swiftshader/).waitFor()
  // In software a token takes long: one is enough.
  await page.getByLabel('Your message').fill('Hello')
  await page.getByRole('button', { name: 'Send' }).click()
  await page.waitForFunction(() => document.querySelector('.answer')?.textContent)
  await page.getByRole('button', { name: 'Stop' }).click()
  await page.getByText('stopped').waitFor()
  expect(await page.locator('.failed').count()).toBe(0)
  await page.getByLabel('Runs on').selectOption('cpu')
  await page.getByText(/wasm-(relaxed|simd128)/).waitFor()
  expect(errors).toEqual([])
  await page.context().close()
})

test('a GPU that gives no device is reported, and the model returns to the CPU', async () => {
  const { page } = await world.visit({ serviceWorkers: 'block' })
  await page.route('**/page/engine-*.js', async (route) => {
    const response = await route.fetch()
    const broken = `GPUAdapter.prototype.requestDevice = () => Promise.reject(new Error('none today'));`
    await route.fulfill({ response, body: broken + (await response.text()) })
  })
  await withModel(page, world.url)
  await page.getByLabel('Runs on').selectOption('gpu')
  await page
    .getByRole('alert')
    .getByText(/gives no device: none today; choose the processor/)
    .waitFor()
  // It was not even unloaded.
  await page.getByText(/wasm-(relaxed|simd128)/).waitFor()
  expect(await page.getByLabel('Runs on').inputValue()).toBe('cpu')
  await page.context().close()
})
