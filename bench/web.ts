/**
 * Measures the engine in a browser's tab: against the same core in Node, with two threads against
 * one, and how soon a second visit is ready.
 *
 *     npm run bench:web -- [MODEL] [--lengths 128,512] [--runs 9] [--visits 5] [--json]
 *
 * It times TTFT of exact prefill without a cached prefix, in turns. In the tab it uses the page's
 * own worker and its protocol. A tab's CPU time is not available, so what is compared takes turns,
 * and the record holds the load average.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { chromium as driver, type Page } from 'playwright-core'
import { defaultModel, type Engine, loadEngine, type Message } from '../node/index.ts'
import { chromium } from '../scripts/chromium.mjs'
import { defined } from '../src/base/at.ts'
import { machine } from './machine.ts'
import { round, summary } from './stats.ts'
import { browserFlags, openWorker, servePage, timedInTab } from './ttft/tab.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    lengths: { type: 'string', default: '128,512' },
    runs: { type: 'string', default: '9' },
    visits: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
  },
})
const model = positionals[0] ?? defaultModel
const main = fileURLToPath(new URL('../cli/main.ts', import.meta.url))
const served = await servePage(main, model)
const browser = await driver.launch({ executablePath: chromium(), args: browserFlags })
const engine = await loadEngine(model, { threads: 1, prefixBytes: 0 })
try {
  const { url } = served
  const visits = await secondVisits(url, Number(values.visits))
  const page = await (await browser.newContext()).newPage()
  await page.goto(url)
  const tabs = new Map<number, string>()
  for (const threads of [1, 2]) tabs.set(threads, await openWorker(page, threads))
  const rows: object[] = []
  for (const length of values.lengths.split(',').map(Number))
    rows.push(await measured(page, engine, length, Number(values.runs)))
  const record = {
    bench: 'web',
    model,
    machine: machine(),
    browser: `chromium ${browser.version()}`,
    builds: { node: engine.backend.build, tab: tabs.get(1), tab_2_threads: tabs.get(2) },
    rows,
    second_visit_ms: { ...summary(visits), samples: visits.map(Math.round) },
  }
  console.log(values.json ? JSON.stringify(record) : JSON.stringify(record, undefined, 2))
} finally {
  await browser.close()
  await engine.close()
  served.stop()
}

/**
 * Times from entering the address to the model being ready, with page and model cached, in a
 * profile on disk as a visitor has one.
 */
async function secondVisits(url: string, count: number): Promise<number[]> {
  const profile = mkdtempSync(join(tmpdir(), 'foretoken-visits-'))
  const context = await driver.launchPersistentContext(profile, { executablePath: chromium(), args: browserFlags })
  const page = await context.newPage()
  page.setDefaultTimeout(120_000)
  await page.goto(url)
  await page.getByRole('button', { name: /^Load / }).click()
  await page.getByText('backend').waitFor()
  const times: number[] = []
  for (let visit = 0; visit < count; visit++) {
    await page.goto('about:blank')
    const begun = performance.now()
    await page.goto(url)
    await page.getByText('backend').waitFor()
    times.push(performance.now() - begun)
  }
  await context.close()
  rmSync(profile, { recursive: true, force: true })
  return times
}

async function measured(page: Page, engine: Engine, length: number, runs: number) {
  const messages = messagesOf(engine, length)
  const ways = {
    node: async () => {
      const begun = performance.now()
      for await (const { type } of engine.submit({ prompt: messages, maxTokens: 1, tenant: crypto.randomUUID() }))
        if (type === 'token') return performance.now() - begun
      throw new Error('the answer has no token')
    },
    tab: () => timedInTab(page, 1, messages),
    tab_2_threads: () => timedInTab(page, 2, messages),
  }
  const names = Object.keys(ways) as (keyof typeof ways)[]
  const samples = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<keyof typeof ways, number[]>
  for (let run = -2; run < runs; run++)
    for (let turn = 0; turn < names.length; turn++) {
      const name = defined(names[(run + 2 + turn) % names.length])
      const ms = await ways[name]()
      if (run >= 0) samples[name].push(round(ms, 4))
    }
  const median = (name: keyof typeof ways) => summary(samples[name]).median
  return {
    length: engine.promptIds(messages).length,
    ttft_ms: Object.fromEntries(names.map((name) => [name, median(name)])),
    of_node: round(median('node') / median('tab'), 3),
    two_threads: round(median('tab') / median('tab_2_threads'), 3),
    samples,
  }
}

/** Returns a user's message that makes a prompt of about `length` tokens. */
function messagesOf(engine: Engine, length: number): Message[] {
  const words = 'the harbour was built in stone and widened twice before the new port opened further north '.split(' ')
  let content = 'the'
  for (let at = 0; engine.promptIds([{ role: 'user', content }]).length < length; at++)
    content += `${words[at % words.length]} `
  return [{ role: 'user', content: content.trim() }]
}
