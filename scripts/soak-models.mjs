/**
 * `npm run soak:models -- [--rounds 10] [--model MODEL]...`: one server whose models take turns in
 * memory (test/suites/soak-models.ts), by default two synthetic ones of 60 MB. Exits with 1 if memory
 * is not given back after models were unloaded, or if a switch takes more than its load and its
 * answer.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'soak-models.ts')
process.exitCode = await run(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)])
