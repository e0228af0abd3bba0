/**
 * `npm run check:ort -- [MODEL] [PROMPTS] [TOKENS] [RUNS]`: a whole model in ONNX Runtime Web beside the Rust core (test/suites/ort-check.ts): ids from exact
 * and from predicted K and V must be equal; then the time to the first token of 512, one thread. Some ten minutes for the default model.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'ort-check-main.ts')
process.exitCode = await run(node, [
  '--disable-warning=ExperimentalWarning',
  '--max-old-space-size=8192',
  main,
  ...process.argv.slice(2),
])
