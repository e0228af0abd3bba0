/**
 * `npm run check:webgpu -- [MODEL] [TOKENS]`: compares a whole model on WebGPU with the Rust core,
 * with the same weights in f32. Greedy ids must be equal and logits within 0.02
 * (test/suites/webgpu-check.ts). On Linux it runs on Vulkan in software, which takes some minutes
 * with the default model and 32 tokens; FORETOKEN_VULKAN=own uses the machine's GPU.
 */
import { join } from 'node:path'
import { vulkan } from './chromium.mjs'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'webgpu-check-main.ts')
const args = ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)]
process.exitCode = await run(node, args, { env: vulkan() })
