/**
 * Opens the page in a real browser: `foretoken serve` with a tiny model and a predictor for it, and
 * a headless Chromium.
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type Browser, type BrowserContextOptions, chromium as driver, type Page } from 'playwright-core'
import { loadWasm } from '../../node/wasm.ts'
import { chromium } from '../../scripts/chromium.mjs'
import { Engine } from '../../src/index.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { builtCommand, sourceCommand } from './built-command.ts'
import { startCli } from './cli-process.ts'
import { tinyFiles, tinyGguf } from './tiny-model.ts'
import { tinyPredictor } from './tiny-predictor.ts'

export const tiny = { layers: 7, context: 2048 }
export const browserFlags = [
  '--no-sandbox',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
]

export interface PageWorld {
  readonly url: string
  readonly browser: Browser
  /** Returns a page in a new browser context; its console errors are collected. */
  visit(options?: BrowserContextOptions): Promise<{ readonly page: Page; readonly errors: readonly string[] }>
  close(): Promise<void>
}

/** Flags for WebGPU on Vulkan in software. */
export const softwareGpu = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan']

/** Starts the browser; `more` are further flags. */
export async function pageWorld(more: readonly string[] = []): Promise<PageWorld> {
  const folder = mkdtempSync(join(tmpdir(), 'foretoken-page-'))
  const [model, predictor] = [join(folder, 'tiny.gguf'), join(folder, 'tiny.safetensors')]
  const { seed, identity } = await talkative()
  writeFileSync(model, tinyGguf({ ...tiny, seed }))
  writeFileSync(predictor, await writePredictor(tinyPredictor(identity)))
  const server = startCli(['serve', '--port', '0', '-m', model, '--predictor', predictor, '--threads', '1'], {
    FORETOKEN_HOME: folder,
  })
  const url = await server.url()
  const browser = await driver.launch({ executablePath: chromium(), args: [...browserFlags, ...more] })
  return {
    url,
    browser,
    async visit(options = {}) {
      const context = await browser.newContext(options)
      const page = await context.newPage()
      page.setDefaultTimeout(30_000)
      const errors: string[] = []
      page.on('pageerror', ({ message }) => errors.push(message))
      page.on('console', (message) => {
        if (message.type() === 'error') errors.push(message.text())
      })
      return { page, errors }
    },
    async close() {
      await browser.close()
      server.child.kill('SIGKILL')
      await server.ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

interface Talkative {
  readonly seed: number
  readonly identity: string
}

/** Returns the first random model that does not end its answers at once; it is looked for once. */
export async function talkative(): Promise<Talkative> {
  const asked = JSON.stringify([questions, process.env.FORETOKEN_WASM])
  const hash = createHash('sha256').update(tinyGguf({ ...tiny, seed: 1 }))
  const kept = join(dirname(builtCommand), `talkative-${hash.update(asked).digest('hex').slice(0, 16)}.json`)
  if (existsSync(kept)) return JSON.parse(readFileSync(kept, 'utf8'))
  const found = await findTalkative()
  if (builtCommand !== sourceCommand) {
    writeFileSync(`${kept}.${process.pid}`, JSON.stringify(found))
    renameSync(`${kept}.${process.pid}`, kept)
  }
  return found
}

const questions = ['Hello', ...['Exact', 'Predicted', 'Refined', 'Stop'].map(questionOf)]

async function findTalkative(): Promise<Talkative> {
  const wasm = await loadWasm('auto', 1)
  for (let seed = 1; ; seed++) {
    const engine = await Engine.load(tinyFiles({ ...tiny, seed }), { wasm })
    const long = await Promise.all(
      questions.map(async (content) => {
        const answer = engine.submit({ prompt: [{ role: 'user', content }], maxTokens: 256, repetitionPenalty: 1.1 })
        return (await answer.result()).text.trim().length > 100
      }),
    )
    const { identity } = engine
    await engine.close()
    if (long.every(Boolean)) return { seed, identity }
  }
}

/**
 * Returns a prompt long enough to be mostly predicted; each begins differently, so that no cache
 * holds it.
 */
export function questionOf(name: string): string {
  return `${name}: ${'What is said here, is said at some length, so that most of it may be predicted. '.repeat(3)}`
}

/** Opens the page and loads its model. */
export async function withModel(page: Page, url: string): Promise<void> {
  await page.goto(url)
  await page.getByRole('button', { name: /^Load tiny/ }).click()
  await page.getByText('backend').waitFor()
}

/** Sends a question, and waits for the whole answer and its times. */
export async function asked(page: Page, question: string): Promise<void> {
  const before = await page.locator('.turn').count()
  await page.getByLabel('Your message').fill(question)
  await page.getByRole('button', { name: 'Send' }).click()
  await page.locator('.turn').nth(before).waitFor()
  await page.locator('[role=log][aria-busy=false]').waitFor()
}
