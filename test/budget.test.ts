/** Bytes: what a reader of a page or an isolate must load. */
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { gzipSync } from 'node:zlib'
import { type BuildOptions, build } from 'esbuild'
import { expect, test } from 'vitest'

const { bundles }: { bundles: Record<string, BuildOptions> } = await import(
  new URL('../scripts/bundles.mjs', import.meta.url).href
)

const most = 250_000

async function parts(name: string): Promise<readonly Uint8Array[]> {
  const { outputFiles } = await build({ ...bundles[name], write: false })
  return outputFiles.map(({ contents }) => contents)
}

/** Returns the files that importing a bundle loads: its start, and the parts that it imports at once. */
async function loaded(name: string): Promise<readonly Uint8Array[]> {
  const { outputFiles, metafile } = await build({ ...bundles[name], write: false, metafile: true })
  if (outputFiles.length === 1) return [outputFiles[0]!.contents]
  const found = new Set([name])
  for (const path of found)
    for (const { kind, path: next } of metafile.outputs[path]!.imports) if (kind === 'import-statement') found.add(next)
  return [...found].map((path) => outputFiles.find((file) => basename(file.path) === basename(path))!.contents)
}

const gzip = (bytes: Uint8Array) => gzipSync(bytes, { level: 9 }).length
const gzipOf = (files: readonly Uint8Array[]) => files.reduce((sum, bytes) => sum + gzip(bytes), 0)
const wasm = (form: string) => readFileSync(new URL(`../wasm/dist/${form}.wasm`, import.meta.url))

test.each(['simd128', 'relaxed', 'simd128-threads', 'relaxed-threads'])(
  `the library and %s.wasm take at most ${most} bytes, gzip`,
  async (form) => {
    const [library, core] = [gzipOf(await loaded('dist/index.js')), gzip(wasm(form))]
    expect(library + core, `library ${library}, ${form} ${core}`).toBeLessThanOrEqual(most)
  },
)

test('the neutral bundles use no platform', async () => {
  for (const name of ['dist/index.js', 'dist/browser.js', 'dist/edge.js', 'dist/edge-deno.js', 'dist/edge-bun.js']) {
    const text = (await parts(name)).map((bytes) => new TextDecoder().decode(bytes)).join('\n')
    expect(text.match(/(?:from|import|require)\s*\(?\s*["'](?:node:|cloudflare:)[^"']*/g) ?? [], name).toEqual([])
  }
})

test('a visit of the page takes at most 420 kB, gzip, with the builds of the core for its kind', async () => {
  const { buildPage } = await import('../scripts/web.mjs')
  const { files, later } = await buildPage()
  // The shaders, for example, are loaded when somebody chooses the GPU.
  expect(later.length).toBeGreaterThan(0)
  for (const kind of [/page\/(simd128|relaxed)-threads-/, /page\/(simd128|relaxed)-(?!threads)/]) {
    const sizes = [...files]
      .filter(([path]) => !later.includes(path) || kind.test(path))
      .map(([path, bytes]) => [path, gzip(bytes)] as const)
    expect(sizes.filter(([path]) => path.endsWith('.wasm'))).toHaveLength(2)
    expect(sizes.length).toBeGreaterThan(8)
    expect(
      sizes.reduce((sum, [, bytes]) => sum + bytes, 0),
      JSON.stringify(sizes),
    ).toBeLessThanOrEqual(420_000)
  }
})

test('what few callers use is not loaded with the library', async () => {
  const [all, first] = [await parts('dist/index.js'), await loaded('dist/index.js')]
  expect(all.length).toBeGreaterThan(first.length)
  const text = first.map((bytes) => new TextDecoder().decode(bytes)).join('\n')
  const rest = all.map((bytes) => new TextDecoder().decode(bytes)).join('\n')
  // Messages of fitting, and of the tokenizers of encoders.
  for (const message of [
    'the targets hold a value that is not finite',
    'of its charsmap has children beyond the trie',
  ]) {
    expect(rest).toContain(message)
    expect(text).not.toContain(message)
  }
})

test('each worker is one small file', async () => {
  expect(gzipOf(await loaded('dist/worker.js'))).toBeLessThan(1_000)
  expect(gzipOf(await loaded('dist/text-worker.js'))).toBeLessThan(46_000)
  expect(gzipOf(await loaded('dist/guide-worker.js'))).toBeLessThan(25_000)
})
