/**
 * `npm run faults -- [downloads|companion] [FAULTS] [SEED]`: both where neither is named.
 *
 * - `downloads` (test/suites/download-faults.ts): files that are cut, stall, change or lie, processes that are killed, full disks and two writers; 240 by
 *   default, with a table by kind. Exit 1 if a file is not what the source had, or a code, a word or an exit code is wrong.
 * - `companion` (test/suites/faults.ts): a companion that fails at random bytes and times, 2,000 by default. Exit 1 if a token is lost, comes twice or
 *   differs.
 *
 * Each prints its seed, and the failure with it.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const mains = { downloads: 'download-faults-main.ts', companion: 'faults-main.ts' }
const [first, ...rest] = process.argv.slice(2)
const named = Object.hasOwn(mains, first ?? '')
const args = named ? rest : process.argv.slice(2)
for (const name of named ? [first] : Object.keys(mains)) {
  const main = join(root, 'test', 'suites', mains[name])
  const code = await run(node, ['--disable-warning=ExperimentalWarning', main, ...args])
  process.exitCode ||= code
}
