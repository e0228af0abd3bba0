/** Runs `npm run check:webgpu`: see scripts/check-webgpu.mjs. */
import { checkWebGpu } from './webgpu-check.ts'

const [model = 'smollm2-135m', tokens = '32'] = process.argv.slice(2)
const report = await checkWebGpu(model, Number(tokens), (text) => process.stderr.write(`${text}\n`))
console.log(JSON.stringify(report))
// Dawn's instance would keep the process alive.
process.exit(0)
