/**
 * `npm run soak:chunks -- [ROUNDS] [SEED]`: fills the chunk store of a tiny model, and goes on with
 * more documents than it holds, 3,000 rounds by default (test/suites/soak-chunks.ts).
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'soak-chunks-main.ts')
const flags = ['--disable-warning=ExperimentalWarning', '--expose-gc']
process.exitCode = await run(node, [...flags, main, ...process.argv.slice(2)])
