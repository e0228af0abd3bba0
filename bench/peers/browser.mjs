/**
 * Headless Chromium, one browser for each engine, and the server that they load from (cross-origin
 * isolated). Idle tabs of other engines in one browser cost an engine 15 % at 512 tokens.
 */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import http from 'node:http'
import { extname, join, normalize } from 'node:path'
import { build } from 'esbuild'

const types = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm' }

export async function startBrowsers({ models, root, here, gguf }) {
  const bundle = await build({
    entryPoints: [join(here, 'page/foretoken.mjs')],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
  })
  const folders = {
    page: join(here, 'page'),
    modules: join(here, 'node_modules'),
    models,
    core: join(root, 'wasm/dist'),
  }
  const server = http.createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, 'http://x').pathname))
    const [, first, ...rest] = path.split('/')
    const headers = {
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
      'cross-origin-resource-policy': 'same-origin',
    }
    if (path === '/page/foretoken.bundle.mjs') {
      response.writeHead(200, { ...headers, 'content-type': 'text/javascript' })
      return response.end(bundle.outputFiles[0].contents)
    }
    const file = path === '/gguf' ? gguf : folders[first] && join(folders[first], ...rest)
    const found = file && (await stat(file).catch(() => undefined))
    if (!found?.isFile()) return response.writeHead(404, headers).end()
    const type = types[extname(file)] ?? 'application/octet-stream'
    response.writeHead(200, { ...headers, 'content-type': type, 'content-length': found.size })
    createReadStream(file).pipe(response)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${server.address().port}`

  const { chromium } = await import('playwright-core')
  const browsers = []
  /** Starts a browser. Returns a page, and a function that tells the CPU milliseconds of its renderers so far. */
  const start = async () => {
    const browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-timer-throttling'],
    })
    browsers.push(browser)
    const session = await browser.newBrowserCDPSession()
    const cpu = async () => {
      const { processInfo } = await session.send('SystemInfo.getProcessInfo')
      return 1000 * processInfo.filter(({ type }) => type === 'renderer').reduce((sum, each) => sum + each.cpuTime, 0)
    }
    return { page: await browser.newPage(), cpu }
  }

  return {
    tab(name, options, engine) {
      let page
      let cpu
      // wllama's newest completions accept text, special tokens included, instead of ids.
      const promptOf = (ids) => (options.asText ? textOf(engine, ids) : ids)
      return {
        async load() {
          ;({ page, cpu } = await start())
          page.on('pageerror', (error) => process.stderr.write(`${name}: ${error.message}\n`))
          await page.goto(`${origin}/page/page.html?engine=${name}`)
          await page.waitForFunction('window.engine', undefined, { timeout: 60_000 })
          await page.evaluate((loaded) => window.engine.load(loaded), options)
        },
        async answer(ids, n) {
          const answer = await page.evaluate(
            ([prompt, count]) => window.engine.answer(prompt, count),
            [promptOf(ids), n],
          )
          return typeof answer === 'string' ? answer : engine.tokenizer.decode(answer)
        },
        async measure(ids, steps) {
          const before = await cpu()
          const call = (count) =>
            page.evaluate(([prompt, n]) => window.engine.prefill(prompt, n), [promptOf(ids), count])
          const first = await call(steps)
          const between = (await cpu()) - before
          if (typeof first !== 'number') {
            // One call did both, so CPU time is split as wall time was.
            const share = first.prefill_ms / (first.prefill_ms + first.decode_ms)
            return {
              prefill_ms: first.prefill_ms,
              prefill_cpu_ms: between * share,
              decode_ms: first.decode_ms / steps,
              decode_cpu_ms: (between * (1 - share)) / steps,
            }
          }
          const decode = await page.evaluate((count) => window.engine.decode(count), steps)
          return {
            prefill_ms: first,
            prefill_cpu_ms: between,
            decode_ms: decode / steps,
            decode_cpu_ms: ((await cpu()) - before - between) / steps,
          }
        },
      }
    },
    async close() {
      await Promise.all(browsers.map((browser) => browser.close()))
      server.close()
    },
  }
}

function textOf(engine, ids) {
  const decoder = new TextDecoder()
  return ids.map((id) => decoder.decode(engine.tokenizer.tokenBytes(id), { stream: true })).join('') + decoder.decode()
}
