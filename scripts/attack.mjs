/**
 * `npm run attack -- [ATTACK...] [--model FILE] [--seconds N]`: eight attackers and one victim on a server of their own
 * (test/suites/attack.ts); the attacks are refused, bodies, tenants, downloads, long and templates.
 * The model is a tiny random one unless one is named.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'attack.ts')
process.exitCode = await run(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)])
