/**
 * `npm run export:onnx -- [MODEL] FOLDER`: exports a Llama model as ONNX with past and present K
 * and V, from the same weights in f32, in the layout of transformers.js's models. Measure it with
 * `foretoken bench ttft --engines onnx:FOLDER,transformers.js:FOLDER`.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const main = join(root, 'test', 'suites', 'export-onnx-main.ts')
process.exitCode = await run(setup(), ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)])
