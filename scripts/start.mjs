/** `npm start -- ARGS`: sets the clone up, then runs `foretoken ARGS` from source. */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'cli', 'main.ts')
// Paths in ARGS are relative to the user's working directory, which npm passes in INIT_CWD.
const cwd = process.env.INIT_CWD ?? process.cwd()
process.exitCode = await run(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)], { cwd })
