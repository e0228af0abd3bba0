/**
 * Measures what a switch to another model costs beyond its parts: one server keeps one of two models
 * in memory, and each request asks for the other.
 *
 *     npm run bench:switch -- [--model A --model B] [--rounds 10]
 *
 * `switch` is the time from a request to the first token of its answer, while the other model is
 * loaded. `load` is that of the load within it, and `ttft` that of the next request to the same model,
 * with another prompt. `beyond` is what is left: finding room, unloading the other model, giving its
 * memory back. By the clock and by the processor, medians over the rounds. Both files are in the
 * page cache. Without models, two synthetic ones of 60 MB are used.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { createApp, type HostContext } from '../edge/node.ts'
import { loadEngine, ModelPool, neededBytes, type PooledModel, reclaimMemory } from '../node/index.ts'
import { defined } from '../src/base/at.ts'
import { tinyGguf } from '../test/helpers/tiny-model.ts'
import { machine } from './machine.ts'
import { eventsOf } from './sse.ts'
import { cpuMs, roundedSummary, type Sample, timed } from './stats.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '10' },
    model: { type: 'string', multiple: true, default: [] },
  },
})
/** Rounds before code is compiled and the heap has its size. */
const warmUp = 2
/** How long after a model was unloaded its memory is collected, as `serve` does it. */
const collectMs = 500

const folder = await mkdtemp(join(tmpdir(), 'foretoken-switch-'))
const paths = values.model.length > 0 ? values.model : await synthetic()
const needed = await Promise.all(paths.map((path) => neededBytes(path)))
let loading: Sample = { ms: 0, cpu_ms: 0 }
const pool = new ModelPool<HostContext>(
  paths.map(
    (path, index): PooledModel<HostContext> => ({
      name: basename(path, '.gguf'),
      bytes: defined(needed[index]),
      async load({ signal }) {
        let engine: Awaited<ReturnType<typeof loadEngine>> | undefined
        loading = await timed(async () => {
          engine = await loadEngine(path, { signal, threads: 1 })
        })
        return defined(engine)
      },
    }),
  ),
  {
    keep: 1,
    reclaim(now) {
      if (now) reclaimMemory()
      else setTimeout(reclaimMemory, collectMs).unref()
    },
  },
)
const app = createApp({ models: pool, config: { listen: 'loopback' } })
const taken: Record<'switch' | 'load' | 'ttft' | 'beyond', Sample[]> = { switch: [], load: [], ttft: [], beyond: [] }
let asked = 0
try {
  for (let round = -warmUp; round < Number(values.rounds); round++)
    for (const path of paths) {
      const model = basename(path, '.gguf')
      const all = await firstToken(model)
      const load = loading
      const ttft = await firstToken(model)
      // The collection of the other model's memory is no part of the next switch.
      await new Promise((resolve) => setTimeout(resolve, collectMs + 100))
      if (round < 0) continue
      const beyond = { ms: all.ms - load.ms - ttft.ms, cpu_ms: all.cpu_ms - load.cpu_ms - ttft.cpu_ms }
      for (const [key, sample] of Object.entries({ switch: all, load, ttft, beyond }))
        taken[key as keyof typeof taken].push(sample)
    }
} finally {
  await pool.close()
  await rm(folder, { recursive: true, force: true })
}
const rows = Object.entries(taken).map(([key, samples]) => {
  const of = (kind: keyof Sample) => roundedSummary(samples.map((sample) => sample[kind]))
  return [key, { ms: of('ms'), cpu_ms: of('cpu_ms') }]
})
const models = paths.map((path) => basename(path))
console.log(
  JSON.stringify({
    bench: 'switch',
    machine: machine(),
    models,
    switches: taken.load.length,
    ...Object.fromEntries(rows),
  }),
)

/** Asks for an answer and reads all of it, so that requests share no passes. Resolves with what its first text took. */
async function firstToken(model: string): Promise<Sample> {
  const [cpu, begun] = [cpuMs(), performance.now()]
  // Prompts differ from their first words on, so that no prefix cache has read a part of one.
  const messages = [
    { role: 'system', content: `${++asked} is your number. You help with numbers, politely.` },
    { role: 'user', content: 'Name another number, please, and the one after it.' },
  ]
  const request = { model, stream: true, max_tokens: 4, messages }
  const headers = { 'content-type': 'application/json', host: 'localhost' }
  const response = await app.fetch(
    new Request('http://localhost/v1/chat/completions', { method: 'POST', headers, body: JSON.stringify(request) }),
  )
  if (response.status !== 200 || !response.body) throw new Error(`${response.status} ${await response.text()}`)
  let first: Sample | undefined
  for await (const { data } of eventsOf(response.body))
    if (data !== '[DONE]' && hasText(JSON.parse(data)))
      first ??= { ms: performance.now() - begun, cpu_ms: cpuMs() - cpu }
  if (!first) throw new Error(`${model} answered without text`)
  return first
}

function hasText({ choices }: { choices?: { delta?: { content?: string | null } }[] }): boolean {
  return Boolean(choices?.[0]?.delta?.content)
}

async function synthetic(): Promise<string[]> {
  return Promise.all(
    [1, 2].map(async (seed) => {
      const path = join(folder, `model-${seed}.gguf`)
      await writeFile(path, tinyGguf({ hidden: 1024, layers: 6, seed, context: 512 }))
      return path
    }),
  )
}
