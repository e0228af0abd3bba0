/**
 * Runs this engine in a tab of headless Chromium, with the page and the worker that `foretoken
 * serve` serves.
 */
import type { Browser, Page } from 'playwright-core'
import { ForetokenError, type Message } from '../../node/index.ts'
import { foundChromium } from '../../scripts/chromium.mjs'
import type { FromEngine, ToEngine } from '../../web/protocol.ts'
import type { EngineOptions, TextEngine } from './contender.ts'
import { listening, type Served } from './listening.ts'

export const browserFlags = [
  '--no-sandbox',
  '--disable-background-networking',
  '--disable-component-update',
  '--no-first-run',
]

/** Starts Chromium. Rejects with `unsupported` if there is no Playwright or no Chromium. */
export async function openBrowser(): Promise<Browser> {
  const name: string = 'playwright-core'
  const { chromium } = await import(name).catch(() => {
    throw new ForetokenError('unsupported', 'playwright-core is not installed: npm install --no-save playwright-core')
  })
  const executablePath = foundChromium()
  if (executablePath === undefined)
    throw new ForetokenError('unsupported', 'no Chromium is here: install one, or name one in $CHROMIUM')
  return chromium.launch({ executablePath, args: browserFlags })
}

/** Starts `foretoken serve` with one thread. `cli` is its script. */
export function servePage(cli: string, model: string): Promise<Served> {
  return listening(cli, ['serve', '-m', model, '--port', '0', '--threads', '1'])
}

/**
 * Opens a worker of the page with `threads` threads, as `window.bench1` and so on. Returns which
 * build runs.
 */
export function openWorker(page: Page, threads: number): Promise<string> {
  return page.evaluate(async (threads) => {
    // The page's script, and the parts of it that it always needs.
    const addresses = [
      ...[...document.querySelectorAll<HTMLScriptElement>('script[type=module]')].map(({ src }) => src),
      ...[...document.querySelectorAll<HTMLLinkElement>('link[rel=modulepreload]')].map(({ href }) => href),
    ]
    const texts = await Promise.all(addresses.map(async (address) => (await fetch(address)).text()))
    const script = texts.join('\n').match(/page\/engine-\w+\.js/)?.[0]
    if (!script) throw new Error('the page names no script of its engine')
    const worker = new Worker(new URL(script, document.baseURI), { type: 'module' })
    const manifest = await (await fetch('page/model.json')).json()
    const base = new URL('page/model.json', document.baseURI).href
    const { predictor: _, ...withoutPredictor } = manifest
    const ready = new Promise<string>((resolve, reject) => {
      worker.addEventListener('message', ({ data }) => {
        if (data.type === 'ready') resolve(data.build)
        if (data.type === 'failed') reject(new Error(data.message))
      })
    })
    const source = { kind: 'offered', manifest: withoutPredictor, base }
    worker.postMessage({ type: 'load', id: 0, device: 'cpu', threads, source })
    Reflect.set(window, `bench${threads}`, worker)
    return ready
  }, threads)
}

/**
 * Returns the milliseconds from a message in the worker to its first token, exact and without a
 * cached prefix.
 */
export async function timedInTab(page: Page, threads: number, messages: readonly Message[]): Promise<number> {
  const last = (await asked(page, threads, { type: 'time', id: 1, messages, cachedTokens: 0 })).at(-1)
  return last?.type === 'timed' ? last.ttft : Number.NaN
}

/** Returns everything that a worker answers to a request, to its end. */
function asked(page: Page, threads: number, message: ToEngine): Promise<FromEngine[]> {
  return page.evaluate(
    ({ threads, message }) => {
      const worker: Worker = Reflect.get(window, `bench${threads}`)
      return new Promise<FromEngine[]>((resolve, reject) => {
        const said: FromEngine[] = []
        const hear = ({ data }: MessageEvent<FromEngine>) => {
          said.push(data)
          if (data.type === 'failed') reject(new Error(data.message))
          if (data.type !== 'timed' && data.type !== 'answered') return
          worker.removeEventListener('message', hear)
          resolve(said)
        }
        worker.addEventListener('message', hear)
        worker.postMessage(message)
      })
    },
    { threads, message },
  )
}

/** Opens this engine in a tab. */
export async function ownTab({ model, threads = 1, cli }: EngineOptions): Promise<TextEngine> {
  const browser = await openBrowser()
  const served = await servePage(cli, model).catch(async (error) => {
    await browser.close()
    throw error
  })
  const close = async () => {
    await browser.close()
    served.stop()
  }
  try {
    const page = await browser.newPage()
    await page.goto(served.url)
    const build = await openWorker(page, threads)
    return {
      name: 'chromium',
      build: `${build}, chromium ${browser.version()}`,
      modes: ['exact'],
      first: async (messages) => ({ ttft_ms: await timedInTab(page, threads, messages) }),
      async answer(messages, tokens) {
        const said = await asked(page, threads, { type: 'answer', id: 2, messages, mode: 'exact', plain: tokens })
        return said.map((one) => (one.type === 'token' ? one.text : '')).join('')
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
