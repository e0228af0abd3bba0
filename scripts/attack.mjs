/**
 * `npm run attack -- [ATTACK...] [--model FILE] [--seconds N]`: runs eight attackers and one victim
 * on a separate server (test/suites/attack.ts). The attacks are refused, bodies, tenants,
 * downloads, long and templates. The default model is a tiny random one.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'attack.ts')
process.exitCode = await run(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)])
