/** Bytes: what a reader of a page or an isolate must load. */
import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { type BuildOptions, build } from 'esbuild'
import { expect, test } from 'vitest'

const { bundles }: { bundles: Record<string, BuildOptions> } = await import(
  new URL('../scripts/bundles.mjs', import.meta.url).href
)

const most = 250_000

async function bundle(name: string): Promise<Uint8Array> {
  const { outputFiles } = await build({ ...bundles[name], write: false })
  return outputFiles[0]!.contents
}

const gzip = (bytes: Uint8Array) => gzipSync(bytes, { level: 9 }).length
const wasm = (form: string) => readFileSync(new URL(`../wasm/dist/${form}.wasm`, import.meta.url))

test.each(['simd128', 'relaxed', 'simd128-threads', 'relaxed-threads'])(
  `the library and %s.wasm take at most ${most} bytes, gzip`,
  async (form) => {
    const [library, core] = [gzip(await bundle('dist/index.js')), gzip(wasm(form))]
    expect(library + core, `library ${library}, ${form} ${core}`).toBeLessThanOrEqual(most)
  },
)

test('the neutral bundles use no platform', async () => {
  for (const name of ['dist/index.js', 'dist/browser.js', 'dist/edge.js', 'dist/edge-deno.js', 'dist/edge-bun.js']) {
    const text = new TextDecoder().decode(await bundle(name))
    expect(text.match(/(?:from|import|require)\s*\(?\s*["'](?:node:|cloudflare:)[^"']*/g) ?? [], name).toEqual([])
  }
})

test('a visit of the page takes at most 420 kB, gzip, with every build of the core', async () => {
  const { buildPage } = await import('../scripts/web.mjs')
  const { files, later } = await buildPage()
  // The shaders, for example, are loaded when somebody chooses the GPU.
  expect(later.length).toBeGreaterThan(0)
  const sizes = [...files]
    .filter(([path]) => !later.includes(path))
    .map(([path, bytes]) => [path, gzip(bytes)] as const)
  expect(sizes.length).toBeGreaterThan(8)
  expect(
    sizes.reduce((sum, [, bytes]) => sum + bytes, 0),
    JSON.stringify(sizes),
  ).toBeLessThanOrEqual(420_000)
})

test('each worker is one small file', async () => {
  expect(gzip(await bundle('dist/worker.js'))).toBeLessThan(1_000)
  expect(gzip(await bundle('dist/text-worker.js'))).toBeLessThan(46_000)
  expect(gzip(await bundle('dist/guide-worker.js'))).toBeLessThan(25_000)
})
