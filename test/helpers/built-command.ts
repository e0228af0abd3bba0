/**
 * Builds the `foretoken` command as it ships, once for all tests: a built command starts in half of
 * the CPU time that its sources take, and tests start it some hundred times. It is kept until the
 * sources change.
 */
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const kept = join(root, 'node_modules', '.cache', 'foretoken-command')
const sources = [
  'bench',
  'cli',
  'companion',
  'edge',
  'node',
  'playground',
  'scripts',
  'src',
  'wasm/dist',
  'web',
  'workers',
]
const dayMs = 86_400_000

/** Where tests find it, in this process and those that it starts. */
const variable = 'FORETOKEN_TEST_COMMAND'

/** The command from its sources, as a clone runs it. */
export const sourceCommand = join(root, 'cli', 'main.ts')

/** The command as it ships; outside of Vitest, from its sources. */
export const builtCommand = process.env[variable] ?? sourceCommand

/** The files of the page, by path. */
export async function builtPage(): Promise<Map<string, Uint8Array>> {
  if (builtCommand === sourceCommand) return (await (await import('../../scripts/web.mjs')).buildPage()).files
  const folder = join(dirname(builtCommand), 'web')
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('.'))
  return new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name))] as const)))
}

/** Vitest's global setup. */
export default async function setup(): Promise<void> {
  const folder = join(kept, key())
  if (!existsSync(folder)) await make(folder)
  process.env[variable] = join(folder, 'dist', 'cli.js')
}

/** Names what would be built. */
function key(): string {
  const hash = createHash('sha256')
  const add = (path: string) => {
    const { mtimeMs, size } = statSync(path)
    hash.update(`${path} ${mtimeMs} ${size}\n`)
  }
  for (const name of ['package.json', 'package-lock.json']) add(join(root, name))
  for (const name of sources)
    for (const entry of readdirSync(join(root, name), { recursive: true, withFileTypes: true }))
      if (entry.isFile() && /\.(m?[jt]s|tsx|css|html|svg|wasm)$/.test(entry.name))
        add(join(entry.parentPath, entry.name))
  return hash.digest('hex').slice(0, 16)
}

async function make(folder: string): Promise<void> {
  const { build } = await import('esbuild')
  const { bundles } = await import('../../scripts/bundles.mjs')
  const { buildPage } = await import('../../scripts/web.mjs')
  mkdirSync(kept, { recursive: true })
  // Those of other versions may still be in use.
  for (const name of readdirSync(kept))
    if (Date.now() - statSync(join(kept, name)).mtimeMs > dayMs) rmSync(join(kept, name), { recursive: true })
  const draft = `${folder}-${process.pid}`
  const write = async (path: string, contents: Uint8Array) => {
    mkdirSync(dirname(join(draft, path)), { recursive: true })
    await writeFile(join(draft, path), contents)
  }
  for (const name of ['cli', 'worker', 'text-worker', 'guide-worker'] as const) {
    const { outputFiles = [] } = await build(bundles[`dist/${name}.js`]!)
    for (const { path, contents } of outputFiles)
      await write(join('dist', outputFiles.length === 1 ? `${name}.js` : basename(path)), contents)
  }
  for (const [path, contents] of (await buildPage()).files) await write(join('dist', 'web', path), contents)
  copyFileSync(join(root, 'package.json'), join(draft, 'package.json'))
  for (const name of ['wasm', 'predictors']) symlinkSync(join(root, name), join(draft, name))
  try {
    renameSync(draft, folder)
  } catch (error) {
    // Another run was faster.
    rmSync(draft, { recursive: true })
    if (!existsSync(folder)) throw error
  }
}
