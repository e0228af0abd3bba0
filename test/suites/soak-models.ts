/**
 * Runs `npm run soak:models`. Each round asks every model of a pool that keeps one, then unloads all
 * and reads how much memory the process has. Prints a line for each round, and the report as JSON.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { createApp, type HostContext } from '../../edge/node.ts'
import { loadEngine, ModelPool, neededBytes, type PooledModel, reclaimMemory } from '../../node/index.ts'
import { chatBody } from '../helpers/ask.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '10' },
    model: { type: 'string', multiple: true, default: [] },
  },
})
const rounds = Number(values.rounds)

/** Bounds: growth of the idle process after the first rounds, in bytes, and of a switch, in milliseconds of CPU time. */
const mostGrowth = 24e6
const mostOverhead = 20
/** Rounds until the process has what it keeps: compiled code, and the heap of its size. */
const warmUp = 3

const folder = await mkdtemp(join(tmpdir(), 'foretoken-models-'))
const names = values.model.length > 0 ? values.model : await synthetic()
const needed = await Promise.all(names.map((model) => neededBytes(model)))
const pool = new ModelPool<HostContext>(
  names.map(
    (model, index): PooledModel<HostContext> => ({
      name: basename(model, '.gguf'),
      bytes: needed[index] ?? 0,
      load: ({ signal }) => loadEngine(model, { signal, threads: 1 }),
    }),
  ),
  { keep: 1, reclaim: (now) => now && reclaimMemory() },
)
const app = createApp({ models: pool, config: { listen: 'loopback' } })

const held: number[] = []
const idle: number[] = []
const overheads: number[] = []
try {
  for (let round = 0; round < rounds; round++) {
    for (const path of names) overheads.push(await switched(basename(path, '.gguf'), path))
    held.push(process.memoryUsage.rss())
    await unloadAll()
    idle.push(process.memoryUsage.rss())
    const megabytes = (bytes = 0) => Math.round(bytes / 1e6)
    process.stderr.write(`round ${round + 1}: ${megabytes(held.at(-1))} MB loaded, ${megabytes(idle.at(-1))} MB idle\n`)
  }
} finally {
  await pool.close()
  await rm(folder, { recursive: true, force: true })
}

const settled = idle.slice(Math.min(warmUp, rounds - 1))
const growth = Math.max(...settled) - (settled[0] ?? 0)
const [overhead = 0] = overheads.sort((a, b) => a - b).slice(overheads.length >> 1)
const sound = growth <= mostGrowth && overhead <= mostOverhead
console.log(
  JSON.stringify({
    models: names.map((model) => basename(model)),
    rounds,
    loaded_bytes: held.at(-1),
    idle_bytes: idle.at(-1),
    growth_bytes: growth,
    /** Median of the CPU time of a switch beyond that of a load and its first token. */
    switch_overhead_ms: Math.round(overhead * 10) / 10,
    sound,
  }),
)
process.exit(sound ? 0 : 1)

/**
 * Asks a model that is not in memory, and then an app of the same model alone. Resolves with the CPU
 * time, in milliseconds, that a switch takes beyond a load and its first answer: other processes do
 * not count.
 */
async function switched(model: string, path: string): Promise<number> {
  const cold = await cpuOf(() => firstToken(app, model))
  const alone = await cpuOf(async () => {
    const engine = await loadEngine(path, { threads: 1 })
    await firstToken(createApp({ engine, config: { listen: 'loopback', models: [model] } }), model)
    return () => engine.close()
  })
  if (process.env.FORETOKEN_DEBUG) process.stderr.write(`${model}: ${cold} ms, alone ${alone} ms\n`)
  return cold - alone
}

/** Resolves with the CPU time of `work`, in milliseconds; what it gives is called after that. */
async function cpuOf(work: () => Promise<() => Promise<unknown>>): Promise<number> {
  const begun = cpuMs()
  const after = await work()
  const took = cpuMs() - begun
  await after()
  return took
}

/** Asks for a stream, and reads its first token. Resolves with what reads the rest. */
async function firstToken(app: ReturnType<typeof createApp>, model: string): Promise<() => Promise<unknown>> {
  const body = JSON.stringify(chatBody({ model, stream: true, max_tokens: 4 }))
  const headers = { 'content-type': 'application/json', host: 'localhost' }
  const response = await app.fetch(
    new Request('http://localhost/v1/chat/completions', { method: 'POST', headers, body }),
  )
  const reader = response.body?.getReader()
  if (response.status !== 200 || !reader) throw new Error(`${model}: ${response.status} ${await response.text()}`)
  await reader.read()
  return async () => {
    while (!(await reader.read()).done);
  }
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

async function unloadAll(): Promise<void> {
  restAll()
  while (pool.models.some(({ state }) => state !== 'unloaded')) await new Promise((resolve) => setTimeout(resolve, 5))
  reclaimMemory()
  // The system's counts follow: V8 unmaps memory in a thread of its own.
  for (let last = Number.POSITIVE_INFINITY; process.memoryUsage.rss() < last; ) {
    last = process.memoryUsage.rss()
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
}

/** The frame of a function that waits would hold the leases, and with them the memory. */
function restAll(): void {
  for (const { name, state } of pool.models)
    if (state === 'loaded') void pool.use(name, { idleMs: 0 }).then(({ release }) => release())
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
