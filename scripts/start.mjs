/** `npm start -- ARGS` is `foretoken ARGS`, from a clone: sets up what is missing, then runs the source. */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'cli', 'main.ts')
// Paths in ARGS are relative to where the user stands, which npm keeps in INIT_CWD.
const cwd = process.env.INIT_CWD ?? process.cwd()
process.exitCode = await run(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)], { cwd })
