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
 * loaded when they are first used, and by no visit before: parts of scripts, and the builds of the
 * core, of which a visit loads those of one kind.
 */
export async function buildPage() {
  const { build } = await import('esbuild')
  const options = (define) => ({
    absWorkingDir: root,
    bundle: true,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    external: ['node:os', 'node:worker_threads'],
    jsx: 'automatic',
    jsxImportSource: 'preact',
    minify: true,
    legalComments: 'none',
    logLevel: 'warning',
    write: false,
    define: { __VERSION__: '""', __ASSETS__: '[]', __LATER__: '[]', __BUILDS__: '{}', __FILES__: '{}', ...define },
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
  const later = forms.map((form) => built[form])
  /** Adds a script and its parts. Returns its path, then those of the parts that it always needs. */
  const addSplit = async (entry, entryPoint) => {
    const { outputFiles, metafile } = await build({
      ...options(addresses()),
      entryPoints: { [entry]: entryPoint },
      splitting: true,
      metafile: true,
      outdir: 'page',
      entryNames: '[name]-[hash]',
      chunkNames: '[name]-[hash]',
    })
    for (const { path, contents } of outputFiles) files.set(relative(root, path).split(sep).join('/'), contents)
    const names = Object.keys(metafile.outputs)
    const script = names.find((name) => metafile.outputs[name].entryPoint === entryPoint)
    const always = importedBy(script, metafile.outputs)
    later.push(...names.filter((name) => !always.has(name)))
    return [...always]
  }
  built.guide = add('guide', 'wasm', await readFile(join(root, 'wasm', 'dist', 'guide', 'guide.wasm')))
  later.push(built.guide)
  built.engine = (await addSplit('engine', 'web/engine-worker.ts'))[0]
  const [main, ...parts] = await addSplit('main', 'web/main.tsx')
  const style = add('style', 'css', await bundle('web/style.css'))
  files.set('page/icon.svg', await readFile(join(root, 'web', 'icon.svg')))
  const html = (await readFile(join(root, 'web', 'index.html'), 'utf8'))
    .replace('%STYLE%', style)
    .replace('%MAIN%', main)
    .replace('%PARTS%', parts.map((part) => `<link rel="modulepreload" href="${part}" />`).join('\n    '))
  files.set('index.html', Buffer.from(html))
  const paths = [...files.keys()].filter((path) => path !== 'index.html')
  const assets = ['./', ...paths.filter((path) => !later.includes(path))]
  const version = createHash('sha256').update(paths.join()).update(html).digest('hex').slice(0, 12)
  const buildsOf = (threads) => forms.filter((form) => form.endsWith('-threads') === threads).map((form) => built[form])
  const define = {
    __BUILDS__: JSON.stringify({ threads: buildsOf(true), single: buildsOf(false) }),
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
