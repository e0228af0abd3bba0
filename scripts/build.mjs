/** `npm run build`: the bundles and their types, into dist/. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { bundles } from './bundles.mjs'
import { root, run, setup } from './setup.mjs'
import { buildPage } from './web.mjs'

const node = setup()
const { build } = await import('esbuild')
rmSync(join(root, 'dist'), { recursive: true, force: true })
mkdirSync(join(root, 'dist'), { recursive: true })
for (const [file, options] of Object.entries(bundles)) {
  const { outputFiles } = await build(options)
  writeFileSync(join(root, file), outputFiles[0].contents, { mode: file === 'dist/cli.js' ? 0o755 : 0o644 })
  const { length } = outputFiles[0].contents
  console.log(`${file.padEnd(16)} ${kilobytes(length)}  gzip ${kilobytes(gzipSync(outputFiles[0].contents).length)}`)
}
let page = 0
for (const [path, contents] of await buildPage()) {
  const to = join(root, 'dist', 'web', path)
  mkdirSync(dirname(to), { recursive: true })
  writeFileSync(to, contents)
  page += gzipSync(contents).length
}
console.log(`${'dist/web'.padEnd(16)} ${' '.repeat(9)}  gzip ${kilobytes(page)}`)
process.exitCode = await run(node, [
  join(root, 'node_modules', 'typescript', 'bin', 'tsc'),
  '-p',
  'tsconfig.build.json',
])

function kilobytes(bytes) {
  return `${(bytes / 1000).toFixed(1)} kB`.padStart(9)
}
