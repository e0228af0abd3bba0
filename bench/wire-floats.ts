/**
 * Runs `foretoken bench wire` with weights and activations in f32, which shows how far a codec
 * alone moves answers. The Rust core rounds activations to int8 before quantised weights, and a
 * last bit of K moves a rounding there: with it even f16 is .0024 from exact, and no codec can be
 * closer.
 *
 *     npm run bench:wire-floats -- [--cases 12] [--length 512] [--seed 1] [--data FOLDER]
 *
 * The codecs' rates stay the same; passes take about five times as long.
 */

import { parseArgs } from 'node:util'
import { defaultModel } from '../node/index.ts'
import { defined } from '../src/base/at.ts'
import { floatEngine } from '../test/helpers/float-engine.ts'
import { machine } from './machine.ts'
import { benchWire } from './wire.ts'

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '12' },
    length: { type: 'string', default: '512' },
    seed: { type: 'string', default: '1' },
    data: { type: 'string', default: process.env.FORETOKEN_DATA ?? '' },
  },
})
if (values.data === '') {
  console.error('bench:wire-floats needs its sets: name their folder with --data or FORETOKEN_DATA')
  process.exit(2)
}
const [cases, length, seed] = [values.cases, values.length, values.seed].map(Number) as [number, number, number]
const context = length + 128
const engine = await floatEngine(defaultModel, { context, kvTokens: 4 * context })
try {
  const onProgress = (text: string) => process.stderr.write(`${text}\n`)
  const results = await benchWire(engine, {
    suites: ['lm'],
    lengths: [length],
    cases,
    seed,
    folder: values.data,
    onProgress,
  })
  const { build, threads } = engine.backend
  const head = {
    bench: 'wire',
    model: defaultModel,
    activations: 'f32',
    build,
    threads,
    kv: 'f32',
    machine: machine(),
    seed,
  }
  console.log(JSON.stringify({ ...head, plan: defined(engine.predictor).plan, results }))
} finally {
  await engine.close()
}
