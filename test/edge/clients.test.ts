/** The suite of real clients: on the app in this process, and on servers of Node, Deno and Bun. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { test } from 'vitest'
import { createApp } from '../../edge/index.ts'
import { loadGuides } from '../../node/guides.ts'
import { testConfig, tinyEngine } from '../helpers/tiny-server.ts'
import { openaiClients, type Target } from '../suites/openai-clients.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const host = 'test/edge/hosts/serve.ts'

openaiClients('the app itself', async () => {
  const engine = await tinyEngine({ guides: loadGuides }, 2048)
  const app = createApp({ engine, config: testConfig })
  return {
    url: 'http://app.test',
    fetch: async (input, init) => app.fetch(new Request(input, init)),
    close: () => engine.close(),
  }
})

openaiClients('Node', () => spawned(process.execPath, [host]))

for (const [name, file, args] of [
  ['Deno', 'node_modules/deno/deno', ['run', '-A', '--no-lock', '--node-modules-dir=manual', host]],
  ['Bun', 'node_modules/bun/bin/bun.exe', [host]],
] as const) {
  const path = `${root}/${file}`
  if (existsSync(path)) openaiClients(name, () => spawned(path, args))
  else test(`${name} is not installed: no binary for this machine, or install scripts were off`, () => {})
}

async function spawned(command: string, args: readonly string[]): Promise<Target> {
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  const url = await firstLine(child)
  return {
    url,
    fetch,
    async close() {
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill()
      await ended
    },
  }
}

function firstLine(child: ChildProcess): Promise<string> {
  let errors = ''
  child.stderr!.on('data', (text) => (errors += text))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`it ended with ${code}: ${errors}`)))
    createInterface({ input: child.stdout! }).once('line', resolve)
  })
}
