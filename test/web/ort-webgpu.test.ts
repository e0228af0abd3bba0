/** ONNX Runtime Web's WebGPU in a real browser, on SwiftShader: an export says there what the Rust core says of the same weights. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { type Browser, chromium as driver, type Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { chromium } from '../../scripts/chromium.mjs'
import { Engine } from '../../src/index.ts'
import { openModel } from '../../src/model/open.ts'
import { randomPrompt } from '../helpers/answers.ts'
import { expectNearlySame, type Given, type Greedy, greedyOf, logitBound } from '../helpers/nearly-same.ts'
import { onnxFiles } from '../helpers/onnx-folder.ts'
import { softwareGpu } from '../helpers/page.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const files = () => tinyFiles({ layers: 2, context: 256 })
const origin = 'https://page.test'
let browser: Browser
let page: Page
let core: Engine

/** The interface that the page has. */
interface InPage {
  answer(prompts: readonly number[][], tokens: number): Promise<{ ids: number[][]; build: string; gpu: string }>
}

const source = (names: readonly string[]) => `
import { OrtEngine } from './src/index.ts'
import { memoryFiles } from './src/model/source.ts'
const ort = await import('/ort/ort.webgpu.min.mjs')
ort.env.wasm.numThreads = 1
ort.env.wasm.wasmPaths = '/ort/'
const part = async (name) => new Uint8Array(await (await fetch('/model/' + name)).arrayBuffer())
const names = ${JSON.stringify(names)}
const files = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await part(name)])))
const engine = await OrtEngine.load(memoryFiles('exported', files), { ort, executionProviders: ['webgpu'] })
window.world = {
  async answer(prompts, maxTokens) {
    const ids = []
    for (const prompt of prompts) ids.push((await engine.result({ prompt, maxTokens, ignoreEos: true })).ids)
    const { adapterInfo } = await ort.env.webgpu.device
    return { ids, build: engine.backend.build, gpu: adapterInfo.architecture || adapterInfo.description }
  },
}`

beforeAll(async () => {
  const model = await onnxFiles(await openModel(files()))
  const { outputFiles } = await build({
    stdin: { contents: source(Object.keys(model)), resolveDir: root, loader: 'ts' },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    external: ['/ort/*'],
  })
  browser = await driver.launch({ executablePath: chromium(), args: ['--no-sandbox', ...softwareGpu] })
  page = await browser.newPage()
  await page.route(`${origin}/**`, async (route) => {
    const { pathname } = new URL(route.request().url())
    const [, folder, ...rest] = pathname.split('/')
    const name = rest.join('/')
    const ort = join(root, 'node_modules/onnxruntime-web/dist', name)
    const contentType = name.endsWith('.wasm') ? 'application/wasm' : 'text/javascript'
    if (folder === 'ort' && existsSync(ort)) await route.fulfill({ body: readFileSync(ort), contentType })
    else if (folder === 'model' && model[name]) await route.fulfill({ body: Buffer.from(model[name]) })
    else if (folder === 'main.js') await route.fulfill({ body: outputFiles[0]!.text, contentType })
    else if (folder === '')
      await route.fulfill({ body: '<script type="module" src="/main.js"></script>', contentType: 'text/html' })
    else await route.fulfill({ status: 404 })
  })
  core = await Engine.load(files(), { wasm: await loadWasm('auto', 1), prefixBytes: 0 })
})
afterAll(() => Promise.all([browser?.close(), core?.close()]))

test('greedy ids are equal', async () => {
  const errors: string[] = []
  page.on('pageerror', ({ message }) => errors.push(message))
  await page.goto(origin)
  await page
    .waitForFunction(() => 'world' in window, undefined, { timeout: 120_000 })
    .catch((error) => {
      throw new Error(errors.join('; ') || error.message)
    })
  const prompts = [randomPrompt(5, 1), randomPrompt(40, 2)]
  const told = await page.evaluate(
    (asked) => (window as unknown as { world: InPage }).world.answer(asked, 6),
    prompts.map((prompt) => [...prompt]),
  )
  expect(told).toMatchObject({ build: 'onnx webgpu', gpu: expect.stringMatching(/swiftshader/i) })
  const pairs: [Given, Greedy][] = []
  for (const [at, prompt] of prompts.entries())
    pairs.push([
      { ids: told.ids[at]! },
      await greedyOf(core.submit({ prompt, maxTokens: 6, ignoreEos: true, topLogprobs: 2 })),
    ])
  expectNearlySame(pairs, logitBound(core.archive.config))
})
