/**
 * Times embeddings of many texts in one call against the same texts one by one.
 *
 *     node bench/embeddings.ts [--model smollm2-135m] [--texts 256] [--tokens 20-200] [--threads 2]
 *                              [--pass 256,512] [--block 32] [--pooling mean]
 *
 * Texts are random tokens. They go block by block, and within a block the contenders take turns: one
 * call for each size of a pass, and a call for each text; the first of them changes from block to
 * block. A line gives each one's processor time and wall time, and the means over blocks of what one
 * by one takes divided by them. All vectors have to be equal.
 */
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { loadEngine } from '../node/index.ts'
import { defined } from '../src/base/at.ts'
import { createRandom } from '../src/decode/random.ts'
import { type Sample, sum, timed } from './stats.ts'

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'smollm2-135m' },
    texts: { type: 'string', default: '256' },
    tokens: { type: 'string', default: '20-200' },
    threads: { type: 'string', default: '2' },
    pass: { type: 'string', default: '256' },
    block: { type: 'string', default: '32' },
    pooling: { type: 'string', default: 'mean' },
  },
})
const [least = 20, most = 200] = values.tokens.split('-').map(Number)
const pooling = values.pooling as 'last' | 'mean' | 'cls'
const random = createRandom(1)
const texts = Array.from({ length: Number(values.texts) }, () => {
  const length = least + Math.floor(random() * (most - least + 1))
  return Array.from({ length }, () => 100 + Math.floor(random() * 20_000))
})

const load = (passTokens: number) =>
  loadEngine(values.model, { threads: Number(values.threads), passTokens, context: 1024, prefixBytes: 0 })
const sizes = values.pass.split(',').map(Number)
const engines = await Promise.all(sizes.map(load))
const single = await load(256)

type Vectors = readonly Float32Array[]
const contenders = [
  {
    name: 'one by one',
    run: async (block: typeof texts): Promise<Vectors> => {
      const vectors: Float32Array[] = []
      for (const text of block) vectors.push(...(await single.embed([text], { pooling })).vectors)
      return vectors
    },
  },
  ...engines.map((engine, index) => ({
    name: `in passes of ${sizes[index]}`,
    run: async (block: typeof texts): Promise<Vectors> => (await engine.embed(block, { pooling })).vectors,
  })),
]
const samples = contenders.map((): Sample[] => [])
for (const { run } of contenders) await run(texts.slice(0, 4))
const size = Number(values.block)
const blocks = Math.ceil(texts.length / size)
for (let index = 0; index < blocks; index++) {
  const block = texts.slice(index * size, (index + 1) * size)
  let expected: Vectors | undefined
  for (let turn = 0; turn < contenders.length; turn++) {
    const at = (turn + index) % contenders.length
    let vectors: Vectors = []
    defined(samples[at]).push(
      await timed(async () => {
        vectors = await defined(contenders[at]).run(block)
      }),
    )
    expected ??= vectors
    const far = vectors.findIndex((vector, i) => vector.some((value, d) => value !== expected?.[i]?.[d]))
    if (far >= 0) throw new Error(`${contenders[at]?.name}: the vector of text ${index * size + far} differs`)
  }
}
const tokens = sum(texts.map(({ length }) => length))
console.log(
  `${values.model}, ${texts.length} texts of ${tokens} tokens, ${values.threads} threads, ${pooling}, load ${defined(loadavg()[0]).toFixed(1)}`,
)
const alone = defined(samples[0])
for (const [at, { name }] of contenders.entries()) {
  const own = defined(samples[at])
  const times = (key: keyof Sample) =>
    (sum(own.map((sample, i) => defined(alone[i])[key] / sample[key])) / blocks).toFixed(3)
  const seconds = (key: keyof Sample) => (sum(own.map((sample) => sample[key])) / 1000).toFixed(2)
  const pace = (texts.length / sum(own.map(({ ms }) => ms))) * 1000
  console.log(
    `${name.padEnd(20)} cpu ${seconds('cpu_ms')} s (${times('cpu_ms')}x)  wall ${seconds('ms')} s (${times('ms')}x)  ${pace.toFixed(1)} a second`,
  )
}
await Promise.all([single, ...engines].map((engine) => engine.close()))
