/** Runs wllama, llama.cpp in Wasm, in a tab of headless Chromium on the same GGUF file. */

import { createReadStream, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ForetokenError, type Message } from '../../node/index.ts'
import { defined } from '../../src/base/at.ts'
import type { EngineOptions, TextEngine } from './contender.ts'
import type { Served } from './listening.ts'
import { chatText, ggufPath } from './peers.ts'
import { openBrowser } from './tab.ts'

/** wllama's calls in a tab, the same for all of its generations. */
interface WllamaPage {
  complete(prompt: string, tokens: number): Promise<{ readonly text: string; readonly first_ms: number }>
}

/** Opens wllama 2 or 3 on the same GGUF file. Rejects with `unsupported` if it is not installed. */
export async function wllama({ model, context, threads = 1 }: EngineOptions): Promise<TextEngine> {
  const folder = await packageFolder('@wllama/wllama')
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const browser = await openBrowser()
  const served = await serveFiles({ wllama: folder }, { '/model.gguf': await ggufPath(model) })
  const close = async () => {
    await browser.close()
    served.stop()
  }
  try {
    const page = await browser.newPage()
    await page.goto(`${served.url}/`)
    await page.evaluate(loadWllama, { threads, context })
    const complete = (messages: readonly Message[], tokens: number) =>
      page.evaluate(
        ({ prompt, tokens }) => {
          const wllama: WllamaPage = Reflect.get(window, 'wllama')
          return wllama.complete(prompt, tokens)
        },
        { prompt: chatText(messages), tokens },
      )
    return {
      name: 'wllama',
      build: `${version}, ${threads === 1 ? 'one thread' : `${threads} threads`}, chromium ${browser.version()}`,
      modes: ['exact'],
      first: async (messages) => ({ ttft_ms: (await complete(messages, 8)).first_ms }),
      answer: async (messages, tokens) => (await complete(messages, tokens)).text,
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** Runs in the page, so everything that it needs is inside. */
async function loadWllama({ threads, context }: { threads: number; context: number }): Promise<void> {
  const at = '/wllama/esm'
  const module: string = `${at}/index.js`
  const { Wllama } = await import(module)
  const paths = {
    default: `${at}/wasm/wllama.wasm`,
    'single-thread/wllama.wasm': `${at}/single-thread/wllama.wasm`,
    'multi-thread/wllama.wasm': `${at}/multi-thread/wllama.wasm`,
  }
  const engine = new Wllama(paths, { suppressNativeLog: true })
  const blob = await (await fetch('/model.gguf')).blob()
  await engine.loadModel([blob], { n_ctx: context, n_threads: threads, n_batch: 512, n_gpu_layers: 0, warmup: false })
  // Generation 2 has calls for passes and samples; generation 3 has whole completions only, whose
  // first piece is timed.
  const steps = async (prompt: string, tokens: number) => {
    const begun = performance.now()
    await engine.kvClear()
    await engine.samplingInit({ temp: 0 })
    const ids = await engine.tokenize(prompt, true)
    for (let from = 0; from < ids.length; from += 512) await engine.decode(ids.slice(from, from + 512), {})
    const decoder = new TextDecoder()
    let [text, first] = ['', 0]
    for (let count = 0; count < tokens; count++) {
      const { token } = await engine.samplingSample()
      if (engine.isTokenEOG(token)) break
      text += decoder.decode(await engine.detokenize([token]), { stream: true })
      if (text !== '') first ||= performance.now() - begun
      await engine.decode([token], {})
    }
    return { text, first_ms: first }
  }
  const completion = async (prompt: string, tokens: number) => {
    const begun = performance.now()
    let [text, first] = ['', 0]
    const onData = (chunk: { choices?: { text?: string }[] }) => {
      text += chunk.choices?.[0]?.text ?? ''
      if (text !== '') first ||= performance.now() - begun
    }
    const options = { prompt, max_tokens: tokens, temperature: 0, cache_prompt: false, stream: true, onData }
    await engine.createCompletion(options)
    return { text, first_ms: first }
  }
  const complete = typeof engine.samplingInit === 'function' ? steps : completion
  Object.assign(window, { wllama: { complete } })
}

async function packageFolder(name: string): Promise<string> {
  try {
    return dirname(dirname(fileURLToPath(import.meta.resolve(`${name}/esm/index.js`))))
  } catch {
    throw new ForetokenError('unsupported', `${name} is not installed: npm install --no-save ${name}@2.2.1`)
  }
}

const types: Readonly<Record<string, string>> = { '.js': 'text/javascript', '.wasm': 'application/wasm' }

/** Serves an empty page, folders and single files on loopback, cross-origin isolated. */
async function serveFiles(
  folders: Readonly<Record<string, string>>,
  files: Readonly<Record<string, string>>,
): Promise<Served> {
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(defined(request.url), 'http://x').pathname))
    const headers = {
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
      'cross-origin-resource-policy': 'same-origin',
    }
    if (path === '/') return response.writeHead(200, { ...headers, 'content-type': 'text/html' }).end('<!doctype html>')
    const [, first = '', ...rest] = path.split('/')
    const file = files[path] ?? (folders[first] && join(folders[first], ...rest))
    const found = file === undefined ? undefined : statSync(file, { throwIfNoEntry: false })
    if (!file || !found?.isFile()) return response.writeHead(404, headers).end()
    const type = types[extname(file)] ?? 'application/octet-stream'
    response.writeHead(200, { ...headers, 'content-type': type, 'content-length': found.size })
    return createReadStream(file).pipe(response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, stop: () => server.close() }
}
