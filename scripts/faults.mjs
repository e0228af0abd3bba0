/**
 * `npm run faults -- [downloads|companion] [FAULTS] [SEED]`: injects faults; runs both suites if
 * neither is named.
 *
 * - `downloads` (test/suites/download-faults.ts): truncated, stalled, changed and false files,
 *   killed processes, full disks and concurrent writers; 240 by default, with a table by kind.
 *   Exits with 1 if a file differs from its source, or an error code, a message or an exit code is
 *   wrong.
 * - `companion` (test/suites/faults.ts): a companion that fails at random bytes and times, 2,000 by
 *   default. Exits with 1 if a token is lost, repeated or different.
 *
 * Each prints its seed and the failure.
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
