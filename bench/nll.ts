/**
 * Measures the mean negative log-likelihood of a text in windows, against the float32 reference on
 * the same weights.
 *
 *     node bench/nll.ts MODEL TEXT_FILE [--threads N] [--kv f32|f16|int8] [--build B] [--attention A] [--window TOKENS] [--windows W]
 *
 * The text is tokenised whole, its first 20,000 ids are cut into windows of 512 (`--window`) that do not
 * overlap, and each window is scored on its own; its first id is not scored. The reference is made
 * by `test/vectors/nll.py`.
 */
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { loadEngine } from '../node/index.ts'
import type { KvType } from '../src/index.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: 'string', default: '1' },
    kv: { type: 'string', default: 'f32' },
    build: { type: 'string', default: 'auto' },
    attention: { type: 'string', default: 'auto' },
    window: { type: 'string', default: '512' },
    windows: { type: 'string', default: '100' },
  },
})
const [model, file] = positionals
if (!model || !file) throw new Error('usage: node bench/nll.ts MODEL TEXT_FILE')

const raw = await readFile(file)
const text = (file.endsWith('.gz') ? gunzipSync(raw) : raw).toString('utf8')
const engine = await loadEngine(model, {
  threads: Number(values.threads),
  kv: values.kv as KvType,
  build: values.build as 'auto',
  attention: values.attention as 'auto',
  context: Math.max(1024, Number(values.window)),
})
const ids = engine.tokenize(text).slice(0, 20_000)
const sums: number[] = []
const window = Number(values.window)
let scored = 0
const begun = performance.now()
for (let at = 0; at + 1 < ids.length && sums.length < Number(values.windows); at += window) {
  const scores = await engine.score(ids.slice(at, at + window))
  sums.push(-scores.reduce((sum, score) => sum + score, 0))
  scored += scores.length
}
const mean = sums.reduce((sum, value) => sum + value, 0) / scored
console.log(
  JSON.stringify({
    build: engine.backend.build,
    kv: values.kv,
    attention: values.attention,
    window,
    tokens: scored,
    mean_nll: mean,
    seconds: (performance.now() - begun) / 1000,
  }),
)
await engine.close()
