/** The package's entries are bundles with classes of their own: what one made must work in another. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build, type OutputFile } from 'esbuild'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { bundles } from '../../scripts/bundles.mjs'
import { tinyGguf } from '../helpers/tiny-model.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const names = ['index', 'node', 'edge', 'companion'] as const
type Bundles = Readonly<Record<(typeof names)[number], Record<string, unknown>>>

let folder: string
let made: Bundles
// biome-ignore lint/suspicious/noExplicitAny: bundles have no types here
let engine: any
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'foretoken-bundles-'))
  // Laid out as the package is.
  for (const name of ['node_modules', 'wasm']) symlinkSync(join(root, name), join(folder, name))
  for (const name of [...names, 'worker'] as const) {
    const { outputFiles } = await build(bundles[`dist/${name}.js`] as never)
    mkdirSync(join(folder, 'dist'), { recursive: true })
    // A bundle of one file has no name of its own.
    const named = ({ path }: OutputFile) => (outputFiles!.length === 1 ? `${name}.js` : basename(path))
    for (const file of outputFiles!) writeFileSync(join(folder, 'dist', named(file)), file.contents)
  }
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  const model = join(folder, 'tiny.gguf')
  writeFileSync(model, tinyGguf({ context: 512 }))
  const load = (name: string) => import(pathToFileURL(join(folder, 'dist', `${name}.js`)).href)
  made = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await load(name)]))) as Bundles
  engine = await (made.node.loadEngine as (model: string, options: object) => Promise<unknown>)(model, { threads: 1 })
})
afterAll(async () => {
  await engine?.close()
  rmSync(folder, { recursive: true, force: true })
})

const call = (made: unknown, ...given: unknown[]) => (made as (...given: unknown[]) => unknown)(...given)
// biome-ignore lint/suspicious/noExplicitAny: as above
const create = (made: unknown, ...given: unknown[]) => new (made as new (...given: unknown[]) => any)(...given)

test('a companion over an engine of another entry point is an OpenAI endpoint, too', async () => {
  const app = call(made.companion.createCompanion, {
    engine,
    edges: [{ id: 'edge', key: new Uint8Array(32) }],
    config: { listen: 'loopback', models: ['tiny'] },
  }) as { fetch(request: Request): Promise<Response> }
  const models = await app.fetch(new Request('http://localhost/v1/models'))
  expect(models.status).toBe(200)
  const chat = await app.fetch(
    new Request('http://localhost/v1/chat/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'tiny', messages: [{ role: 'user', content: 'hello' }], max_tokens: 3 }),
    }),
  )
  expect(chat.status).toBe(200)
  expect(((await chat.json()) as { usage: { completion_tokens: number } }).usage.completion_tokens).toBeGreaterThan(0)
})

test('routes, signatures and lifetimes of one entry point work with the engine of another', async () => {
  const key = new Uint8Array(32).fill(3)
  const far = call(made.companion.createCompanion, { engine, edges: [{ id: 'edge', key }] }) as {
    fetch(request: Request): Promise<Response>
  }
  const reach = (input: string, init: RequestInit) =>
    far.fetch(new Request(input, { ...init, ...(init.body && { duplex: 'half' }) } as RequestInit))
  const address = { url: 'http://far.test', id: 'edge', key }
  const client = create(made.index.RemoteCompanion, address, reach, { firstMs: 60_000, stallMs: 60_000 })
  const companions = create(made.index.StaticCompanions, [{ name: 'far', client }])
  for (const always of ['relay', 'remote']) {
    const routed = create(made.index.Routed, engine, { companions, always })
    const request = {
      prompt: Array.from({ length: 100 }, (_, at) => at),
      maxTokens: 5,
      ignoreEos: true,
      tenant: always,
    }
    const answer = routed.submit(request)
    const ids: number[] = []
    for await (const event of answer) if (event.type === 'token') ids.push(event.id)
    expect(answer.route).toMatchObject({ way: always })
    expect(answer.route.fell_back).toBeUndefined()
    expect(ids).toEqual((await engine.submit({ ...request, tenant: 'alone' }).result()).ids)
  }
})

test('an error of any entry point is recognised by every other', () => {
  const kinds = [
    ['ForetokenError', ['busy', 'wait']],
    ['ApiError', [429, 'wait', { code: 'busy' }]],
  ] as const
  for (const [kind, given] of kinds) {
    const classes = names.map((name) => made[name][kind]).filter((one) => one !== undefined)
    expect(classes.length).toBeGreaterThan(0)
    for (const maker of classes)
      for (const asking of classes) {
        expect(create(maker, ...given) instanceof (asking as never)).toBe(true)
        expect(new Error('wait') instanceof (asking as never)).toBe(false)
      }
  }
})

test('a refusal made by another entry point keeps its status', async () => {
  const errors = [
    [create(made.node.ForetokenError, 'busy', 'try again'), 503],
    [create(made.edge.ApiError, 429, 'wait', { code: 'rate_limit_exceeded' }), 429],
  ] as const
  for (const [error, status] of errors) {
    const refusing = new Proxy(engine, {
      get(target, name) {
        const value = Reflect.get(target, name, target)
        if (typeof value !== 'function') return value
        return name === 'submit' ? () => throwing(error) : value.bind(target)
      },
    })
    const config = { listen: 'loopback', models: ['tiny'] }
    const app = call(made.companion.createCompanion, { engine: refusing, edges: [], config }) as {
      fetch(request: Request): Promise<Response>
    }
    const answer = await app.fetch(
      new Request('http://localhost/v1/chat/completions', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'tiny', messages: [{ role: 'user', content: 'hello' }] }),
      }),
    )
    expect(answer.status).toBe(status)
  }
})

function throwing(error: unknown): never {
  throw error
}
