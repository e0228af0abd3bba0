/**
 * `npm run check:webgpu -- [MODEL] [TOKENS]`: a whole model on WebGPU beside the Rust core with the same weights in f32: greedy ids must be equal and
 * logits within 0.02 (test/suites/webgpu-check.ts). On Linux it runs on Vulkan in software, some minutes for the default model and 32 tokens;
 * FORETOKEN_VULKAN=own takes the machine's own GPU.
 */
import { join } from 'node:path'
import { vulkan } from './chromium.mjs'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'webgpu-check-main.ts')
const args = ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)]
process.exitCode = await run(node, args, { env: vulkan() })
