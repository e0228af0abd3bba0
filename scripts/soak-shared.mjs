/**
 * `npm run soak:shared -- [--clients 32]... [--rounds 20] [--model MODEL]`: runs clients that share
 * one long system prompt, by default 32 and then 64, with the default model
 * (test/suites/soak-shared.ts). Exits with 1 if answers fail or memory grows.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'soak-shared.ts')
process.exitCode = await run(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)])
