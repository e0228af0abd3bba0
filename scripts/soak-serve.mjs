/**
 * `npm run soak:serve -- [REQUESTS] [--minutes N] [--clients N] [--model NAME] [--seed N]`: thousands of requests on Node's server, a
 * fifth of them left in the middle, a tenth no longer read (test/suites/soak-serve.ts); 20,000 by default. The model is a tiny random
 * one unless one is named, such as smollm2-135m.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'soak-serve.ts')
const flags = ['--disable-warning=ExperimentalWarning', '--expose-gc']
process.exitCode = await run(node, [...flags, main, ...process.argv.slice(2)])
