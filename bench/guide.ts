/**
 * Measures what grammars cost: the table of a vocabulary, compiling a schema, masks, and hostile
 * grammars.
 *
 *     node bench/guide.ts MODEL.gguf
 */

import { readFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { gzipSync } from 'node:zlib'
import { fileSource } from '../node/file-source.ts'
import { defined } from '../src/base/at.ts'
import { openGguf } from '../src/model/gguf-archive.ts'
import { createTokenizer } from '../src/tokens/tokenizer.ts'
import { type Guide, instantiate } from '../wasm/dist/guide/guide.js'
import { hostile } from './hostile-grammars.ts'

const path = process.argv[2]
if (!path) throw new Error('name a GGUF file')
const archive = await openGguf('bench', await fileSource(path), new Set())
const tokenizer = createTokenizer(archive.tokenizer)
const tokens = tokenizer.vocabSize
const texts = Array.from({ length: tokens }, (_, id) => tokenizer.tokenBytes(id))
const offsets = new Uint32Array(tokens + 1)
texts.forEach((text, id) => {
  offsets[id + 1] = defined(offsets[id]) + text.length
})
const bytes = Buffer.concat(texts)
const special = Uint8Array.from(texts, (_, id) => Number(tokenizer.isSpecial(id)))
const ends = Uint32Array.from(archive.tokenizer.eosIds)

const load = () => defined(loadavg()[0]).toFixed(1)
const wasm = readFileSync(new URL('../wasm/dist/guide/guide.wasm', import.meta.url))
console.log(`guide.wasm ${wasm.length} bytes, ${gzipSync(wasm, { level: 9 }).length} gzip; load ${load()}`)

function timed<T>(name: string, run: () => T): T {
  const [wall, cpu] = [performance.now(), process.cpuUsage()]
  const result = run()
  const { user, system } = process.cpuUsage(cpu)
  console.log(`${name}: ${(performance.now() - wall).toFixed(1)} ms, CPU ${((user + system) / 1000).toFixed(1)} ms`)
  return result
}

const module = timed('compile the module', () => new WebAssembly.Module(wasm))
const guide = timed('instantiate', () => instantiate(module))
const tokenize = (text: string) => Uint32Array.from(tokenizer.encode(text))
const table = (of: Guide) => new of.Vocabulary(bytes, offsets, special, ends, tokenize)
let vocabulary = timed(`table of ${tokens} tokens`, () => new guide.Vocabulary(bytes, offsets, special, ends, tokenize))

const schema = JSON.stringify({
  type: 'object',
  properties: {
    name: { type: 'string' },
    age: { type: 'integer', minimum: 0, maximum: 150 },
    email: { type: 'string', format: 'email' },
    tags: { type: 'array', items: { enum: ['a', 'b', 'c'] }, maxItems: 4 },
  },
  required: ['name', 'age', 'email', 'tags'],
  additionalProperties: false,
})
const grammar = timed('compile a schema of four fields', () => vocabulary.compile('json_schema', schema))
timed('compile it again', () => vocabulary.compile('json_schema', schema))

const mask = new Uint32Array(Math.ceil(tokens / 32))
const answer = '{"name": "Ann \u00e9 Lee", "age": 42, "email": "ann.lee@example.org", "tags": ["a", "c"]}'
for (const round of ['first', 'second', 'third']) {
  const times: number[] = []
  const matcher = grammar.matcher()
  for (const id of tokenizer.encode(answer)) {
    const start = performance.now()
    matcher.mask(mask)
    times.push(performance.now() - start)
    matcher.commit(id)
  }
  times.sort((a, b) => a - b)
  const at = (share: number) => defined(times[Math.min(times.length - 1, Math.floor(times.length * share))]).toFixed(3)
  console.log(`masks, ${round} answer: ${times.length}, median ${at(0.5)} ms, p99 ${at(0.99)} ms; load ${load()}`)
}
{
  const matcher = vocabulary.compile('json_schema', schema, { compact: true }).matcher()
  let forced = 0
  const ids: number[] = []
  const begin = performance.now()
  for (const id of tokenizer.encode(answer.replaceAll(/(?<=[:,]) (?=["\d[])/g, ''))) {
    const next = matcher.forced()
    if (next.length > 0 && next[0] === id) forced++
    matcher.commit(id)
    ids.push(id)
  }
  console.log(
    `forced: ${forced} of ${ids.length} tokens of a compact answer, asked at each: ${(performance.now() - begin).toFixed(1)} ms`,
  )
}

for (const [name, kind, text] of hostile) {
  let lost = false
  timed(name, () => {
    try {
      vocabulary.compile(kind, text).matcher().mask(mask)
      console.log(`  matched within the limits`)
    } catch (error) {
      console.log(`  ${String(error).slice(0, 150)}`)
      if (error instanceof WebAssembly.RuntimeError) lost = true
    }
  })
  if (lost) vocabulary = table(instantiate(module))
}

/** Tokens a second of CPU time, for each way in turns, so that a busy machine hurts all alike. */
async function decoding(): Promise<void> {
  const { loadEngine } = await import('../node/index.ts')
  const engine = await loadEngine(path, { threads: 1, prefixBytes: 0 })
  const fixed = (count: number) => ({
    type: 'object',
    properties: Object.fromEntries(
      Array.from({ length: count }, (_, at) => [
        `measurement_number_${at}`,
        { type: 'integer', minimum: 0, maximum: 9 },
      ]),
    ),
    required: Array.from({ length: count }, (_, at) => `measurement_number_${at}`),
    additionalProperties: false,
  })
  const text = { type: 'array', items: { type: 'string', minLength: 400 }, minItems: 1 }
  const prompt = 'List the measurements as JSON.'
  const ways = {
    free: { ignoreEos: true },
    'strings under a schema': { guide: { kind: 'json_schema', schema: text, compact: true } as const },
    'fixed keys, drawn one by one': {
      guide: { kind: 'json_schema', schema: fixed(12), compact: true } as const,
      rawLogprobs: true,
    },
    'fixed keys, fast-forward': { guide: { kind: 'json_schema', schema: fixed(12), compact: true } as const },
  }
  const rates = new Map<string, number[]>()
  for (let round = 0; round < 5; round++)
    for (const [name, options] of Object.entries(ways)) {
      let first = process.cpuUsage()
      let tokens = 0
      let forced = 0
      for await (const event of engine.submit({ prompt, temperature: 1, seed: round, maxTokens: 96, ...options })) {
        if (event.type === 'token' && tokens++ === 0) first = process.cpuUsage()
        if (event.type === 'done') forced = event.timings.forced_tokens ?? 0
      }
      const { user, system } = process.cpuUsage(first)
      rates.set(name, [...(rates.get(name) ?? []), ((tokens - 1) * 1e6) / (user + system)])
      if (round === 0) console.log(`${name}: ${tokens} tokens, ${forced} forced`)
    }
  const median = (list: number[]) => defined(list.toSorted((a, b) => a - b)[list.length >> 1])
  const free = median(defined(rates.get('free')))
  for (const [name, list] of rates)
    console.log(
      `${name}: ${median(list).toFixed(1)} tokens a second of CPU, ${(median(list) / free).toFixed(2)} of free`,
    )
  await engine.close()
}
await decoding()
