/**
 * `npm run soak:shared -- [--clients 32]... [--rounds 20] [--model MODEL]`: clients behind one long
 * system prompt, 32 and then 64 unless said otherwise, with the default model
 * (test/suites/soak-shared.ts). Exit code 1 where answers fail or memory grows.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'soak-shared.ts')
process.exitCode = await run(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)])
