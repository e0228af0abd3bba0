/** Runs `npm run check:ort`: see scripts/check-ort.mjs. */
import { checkOrt } from './ort-check.ts'

const [model = 'smollm2-135m', prompts = '20', tokens = '32', runs = '3'] = process.argv.slice(2)
const report = await checkOrt(model, Number(prompts), Number(tokens), Number(runs), (text) =>
  process.stderr.write(`${text}\n`),
)
console.log(JSON.stringify(report))
const all = Number(prompts)
process.exit(report.equal.exact === all && report.equal.predicted === all ? 0 : 1)
