/**
 * `npm run build`: writes the bundles and their types to dist/, inside FOLDER with `--out FOLDER`.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { bundles } from './bundles.mjs'
import { root, run, setup } from './setup.mjs'
import { buildPage } from './web.mjs'

const node = setup()
const { build } = await import('esbuild')
const place = process.argv.indexOf('--out')
const out = place < 0 ? root : resolve(process.argv[place + 1])
rmSync(join(out, 'dist'), { recursive: true, force: true })
mkdirSync(join(out, 'dist'), { recursive: true })
for (const [file, options] of Object.entries(bundles)) {
  const { outputFiles } = await build(options)
  let [length, gzip] = [0, 0]
  for (const { path, contents } of outputFiles) {
    // A bundle of one file has no name of its own; the parts of the others lie beside their start.
    const to = outputFiles.length === 1 ? file : join('dist', basename(path))
    writeFileSync(join(out, to), contents, { mode: to === 'dist/cli.js' ? 0o755 : 0o644 })
    length += contents.length
    gzip += gzipSync(contents).length
  }
  console.log(`${file.padEnd(16)} ${kilobytes(length)}  gzip ${kilobytes(gzip)}`)
}
let page = 0
for (const [path, contents] of (await buildPage()).files) {
  const to = join(out, 'dist', 'web', path)
  mkdirSync(dirname(to), { recursive: true })
  writeFileSync(to, contents)
  page += gzipSync(contents).length
}
console.log(`${'dist/web'.padEnd(16)} ${' '.repeat(9)}  gzip ${kilobytes(page)}`)
const types = join(out, 'dist', 'types')
const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
process.exitCode = await run(node, [compiler, '-p', 'tsconfig.build.json', '--outDir', types])
addGlobals(types)

/**
 * Declares the web platform's types that foretoken's types use, so that projects without DOM types
 * and without `skipLibCheck` compile. With DOM types the declarations merge.
 */
function addGlobals(types) {
  const text = `declare namespace WebAssembly {
  interface Module {}
  interface Memory {}
  interface Instance {}
  interface ValueTypeMap {}
  interface Global<T extends keyof ValueTypeMap = keyof ValueTypeMap> {}
}
interface CryptoKey {}
`
  writeFileSync(join(types, 'globals.d.ts'), text)
  for (const name of readdirSync(types, { recursive: true })) {
    const path = join(types, name)
    if (!name.endsWith('.d.ts') || name === 'globals.d.ts') continue
    const own = readFileSync(path, 'utf8')
    if (!/\b(WebAssembly\.|CryptoKey\b)/.test(own)) continue
    const way = relative(dirname(path), join(types, 'globals.d.ts')).replaceAll('\\', '/')
    writeFileSync(path, `/// <reference path="${way}" />\n${own}`)
  }
}

function kilobytes(bytes) {
  return `${(bytes / 1000).toFixed(1)} kB`.padStart(9)
}
