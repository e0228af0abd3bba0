/** `npm run build`: the bundles and their types, into dist/. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { bundles } from './bundles.mjs'
import { root, run, setup } from './setup.mjs'

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
process.exitCode = await run(node, [
  join(root, 'node_modules', 'typescript', 'bin', 'tsc'),
  '-p',
  'tsconfig.build.json',
])

function kilobytes(bytes) {
  return `${(bytes / 1000).toFixed(1)} kB`.padStart(9)
}
