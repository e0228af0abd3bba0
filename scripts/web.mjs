/**
 * Builds the page as static files, which `npm run build` writes to dist/web. Every file except the
 * page and its service worker has a hash of its content in its name, and can be cached permanently.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'
import { root } from './setup.mjs'

const forms = ['simd128', 'relaxed', 'simd128-threads', 'relaxed-threads']

/**
 * Returns the files by path (`index.html`, `sw.js`, `page/...`), and the paths of those that are
 * loaded when they are first used, and by no visit before.
 */
export async function buildPage() {
  const { build } = await import('esbuild')
  const options = (define) => ({
    absWorkingDir: root,
    bundle: true,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    external: ['node:worker_threads'],
    jsx: 'automatic',
    jsxImportSource: 'preact',
    minify: true,
    legalComments: 'none',
    logLevel: 'warning',
    write: false,
    define: { __VERSION__: '""', __ASSETS__: '[]', __LATER__: '[]', __FILES__: '{}', ...define },
  })
  const bundle = async (entry, define = {}) => {
    const { outputFiles } = await build({ ...options(define), entryPoints: [entry] })
    return outputFiles[0].contents
  }
  const files = new Map()
  const add = (name, ending, contents) => {
    const hash = createHash('sha256').update(contents).digest('hex').slice(0, 12)
    const path = `page/${name}-${hash}.${ending}`
    files.set(path, contents)
    return path
  }
  const built = { compute: add('compute', 'js', await bundle('workers/compute.ts')) }
  for (const form of forms) built[form] = add(form, 'wasm', await readFile(join(root, 'wasm', 'dist', `${form}.wasm`)))
  const addresses = () => ({ __FILES__: JSON.stringify(built) })
  const split = await build({
    ...options(addresses()),
    entryPoints: { engine: 'web/engine-worker.ts' },
    splitting: true,
    metafile: true,
    outdir: 'page',
    entryNames: '[name]-[hash]',
    chunkNames: '[name]-[hash]',
  })
  const { outputs } = split.metafile
  for (const { path, contents } of split.outputFiles) files.set(relative(root, path).split(sep).join('/'), contents)
  built.engine = Object.keys(outputs).find((name) => outputs[name].entryPoint === 'web/engine-worker.ts')
  const always = importedBy(built.engine, outputs)
  const later = Object.keys(outputs).filter((name) => !always.has(name))
  const main = add('main', 'js', await bundle('web/main.tsx', addresses()))
  const style = add('style', 'css', await bundle('web/style.css'))
  files.set('page/icon.svg', await readFile(join(root, 'web', 'icon.svg')))
  const html = (await readFile(join(root, 'web', 'index.html'), 'utf8'))
    .replace('%STYLE%', style)
    .replace('%MAIN%', main)
  files.set('index.html', Buffer.from(html))
  const paths = [...files.keys()].filter((path) => path !== 'index.html')
  const assets = ['./', ...paths.filter((path) => !later.includes(path))]
  const version = createHash('sha256').update(paths.join()).update(html).digest('hex').slice(0, 12)
  const define = {
    __VERSION__: JSON.stringify(version),
    __ASSETS__: JSON.stringify(assets),
    __LATER__: JSON.stringify(later),
  }
  files.set('sw.js', await bundle('web/sw.ts', define))
  return { files, later }
}

/** Returns the names of a built file and of all that it imports at once. */
function importedBy(name, outputs, found = new Set()) {
  if (found.has(name)) return found
  found.add(name)
  for (const { path, kind } of outputs[name].imports) if (kind === 'import-statement') importedBy(path, outputs, found)
  return found
}
