/**
 * `npm run check:ort -- [MODEL] [PROMPTS] [TOKENS] [RUNS]`: compares a whole model in ONNX Runtime
 * Web with the Rust core (test/suites/ort-check.ts). Ids from exact and predicted K and V must be
 * equal. Then measures TTFT of 512 tokens on one thread. Takes about ten minutes with the default
 * model.
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
