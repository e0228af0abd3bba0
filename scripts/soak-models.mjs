/**
 * `npm run soak:models -- [--rounds 10] [--requests 120] [--seed 1] [--model MODEL]...`: one server
 * whose models take turns in memory while clients read, leave and ask for what is not there
 * (test/suites/soak-models.ts), by default four synthetic models of 30 to 60 MB. Exits with 1 if an
 * answer is another than that of the model alone, a load runs beside another or beside more engines
 * than may be kept, memory is not given back, or the idle process grows.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'soak-models.ts')
process.exitCode = await run(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)])
