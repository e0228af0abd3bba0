/**
 * Runs `npm run soak:models`. Each round begins with no model in memory. Clients then ask several
 * models of a pool that keeps two: they read streams to their ends, leave while a model loads or
 * answers, ask for models whose files are missing or cut off, and for names that nobody knows. Idle
 * models are unloaded meanwhile. At the end of the round all are unloaded, and the process has to be
 * as small as before. Prints a line for each round, and the report as JSON; exits with 1 if any of
 * the checks failed.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { createApp, type HostContext } from '../../edge/node.ts'
import { loadEngine, ModelPool, neededBytes, type PooledModel, reclaimMemory } from '../../node/index.ts'
import { random } from '../helpers/random.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'
import { type Expected, type Outcome, SoakClient } from './soak-clients.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '10' },
    requests: { type: 'string', default: '120' },
    seed: { type: 'string', default: '1' },
    model: { type: 'string', multiple: true, default: [] },
    /** Only writes the models into this folder: what making them leaves in memory is not to be watched. */
    write: { type: 'string' },
  },
})
if (values.write !== undefined) {
  for (const layers of [3, 4, 5, 6])
    await writeFile(
      join(values.write, `model-${layers}.gguf`),
      tinyGguf({ hidden: 1024, layers, seed: layers, context: 512 }),
    )
  process.exit(0)
}
const rounds = Number(values.rounds)
const keep = 2
const clients = 6
/** Growth of the idle process beyond what it had after the first rounds, in bytes. */
const mostGrowth = 24e6
/** Rounds until the process has what it keeps: compiled code, and the heap of its size. */
const warmUp = Math.min(3, rounds - 1)
/** The part of a loaded model's weights that must be free again after it was unloaded. */
const leastGivenBack = 0.8

const faults: string[] = []
const fault = (what: string) => {
  if (faults.push(what) <= 20) process.stderr.write(`fault: ${what}\n`)
}

const folder = await mkdtemp(join(tmpdir(), 'foretoken-models-'))
const rng = random(Number(values.seed))
const paths = values.model.length > 0 ? values.model : await synthetic()
const broken = join(folder, 'broken.gguf')
await writeFile(broken, tinyGguf({ context: 512 }))
await truncate(broken, 20_000)
const expected = new Map<string, Expected[]>()
for (const path of paths) expected.set(nameOf(path), await answersOf(path))
reclaimMemory()

/** Models that are being loaded, and those in memory. */
const loading = new Set<string>()
let open = 0
let loads = 0
/** Loads during which another model answered all the time, and the pieces of text that came meanwhile. */
const beside = { loads: 0, pieces: 0 }
const client = new SoakClient({ fetch: (request) => app.fetch(request), rng, fault })
const pool = new ModelPool<HostContext>(
  [...paths, broken, join(folder, 'missing.gguf')].map(
    (path): PooledModel<HostContext> => ({
      name: nameOf(path),
      bytes: () => neededBytes(path),
      load: ({ signal }) => watchedLoad(path, signal),
    }),
  ),
  { keep, idleMs: 300, reclaim: (now) => (now ? reclaimMemory() : setTimeout(reclaimMemory, 500).unref()) },
)
const app = createApp({ models: pool, config: { listen: 'loopback' } })

const idle: number[] = []
const outcomes: Record<Outcome, number> = { answered: 0, left: 0, refused: 0, unknown: 0 }
try {
  for (let round = 0; round < rounds; round++) {
    await storm()
    await settled()
    // All of them may be idle by now: each is asked once more, so that memory is held and given back.
    for (const path of paths.slice(0, keep)) await client.answer(nameOf(path), expected.get(nameOf(path)) ?? [])
    const weights = pool.models.reduce((sum, { engine }) => sum + (engine?.backend.memoryBytes() ?? 0), 0)
    const held = process.memoryUsage.rss()
    await unloadAll()
    const rss = process.memoryUsage.rss()
    if (held - rss < leastGivenBack * weights && round > 0)
      fault(`round ${round + 1}: ${held - rss} bytes were given back of models that had ${weights}`)
    idle.push(rss)
    process.stderr.write(
      `round ${round + 1}: ${megabytes(held)} MB loaded, ${megabytes(rss)} MB idle, ${loads} loads\n`,
    )
  }
} finally {
  await pool.close()
  await rm(folder, { recursive: true, force: true })
}
if (open !== 0) fault(`${open} engines are open after the pool was closed`)
const after = idle.slice(warmUp)
const growth = Math.max(...after) - (after[0] ?? 0)
if (growth > mostGrowth) fault(`the idle process grew by ${growth} bytes`)
if (beside.loads >= 10 && beside.pieces === 0) fault(`${beside.loads} loads stopped the answers of other models`)
for (const [outcome, count] of Object.entries(outcomes)) if (count === 0) fault(`no request was ${outcome}`)
const report = { models: paths.map((path) => basename(path)), rounds, ...outcomes, loads, beside }
console.log(JSON.stringify({ ...report, idle_bytes: idle.at(-1), growth_bytes: growth, faults: faults.length }))
process.exit(faults.length === 0 ? 0 : 1)

/** Lets the clients ask until the round's requests are done. */
async function storm(): Promise<void> {
  let left = Number(values.requests)
  const one = async () => {
    while (left-- > 0) outcomes[await client.ask([...expected.keys()], expected)]++
  }
  await Promise.all(Array.from({ length: clients }, one))
}

/** Waits until nobody uses a model or waits for one. */
async function settled(): Promise<void> {
  const busy = () => pool.models.filter(({ uses, waiting, state }) => uses + waiting > 0 || state === 'loading')
  for (let turn = 0; busy().length > 0; turn++) {
    if (turn === 6000) throw new Error(`still in use: ${JSON.stringify(busy().map(({ name, uses }) => [name, uses]))}`)
    await pause(10)
  }
}

async function watchedLoad(path: string, signal: AbortSignal) {
  const name = nameOf(path)
  if (loading.size > 0) fault(`${name} is loaded beside ${[...loading]}`)
  if (open >= keep) fault(`${name} is loaded although ${open} engines are open`)
  loading.add(name)
  const running = client.streams(name)
  const before = client.pieces
  try {
    const engine = await loadEngine(path, { signal, threads: 1 })
    loads++
    open++
    if (running.some((id) => client.runs(id))) {
      beside.loads++
      beside.pieces += client.pieces - before
    }
    const { close } = engine
    engine.close = async () => {
      open--
      await close.call(engine)
    }
    return engine
  } finally {
    loading.delete(name)
  }
}

async function unloadAll(): Promise<void> {
  for (let turn = 0; pool.models.some(({ state }) => state !== 'unloaded'); turn++) {
    if (turn === 3000) throw new Error('idle models stay in memory')
    await pause(10)
  }
  // The system's counts follow: V8 unmaps memory in a thread of its own.
  for (let last = Number.POSITIVE_INFINITY; process.memoryUsage.rss() < last; ) {
    reclaimMemory()
    last = process.memoryUsage.rss()
    await pause(500)
  }
}

/** Returns what a model answers when it is alone. */
async function answersOf(path: string): Promise<Expected[]> {
  const engine = await loadEngine(path, { threads: 1 })
  const answers: Expected[] = []
  for (const content of ['hello', 'one two three', 'a longer question, which takes a few more tokens to read']) {
    let text = ''
    const prompt = [{ role: 'user', content }] as const
    for await (const event of engine.generate(prompt, { maxTokens: 24, temperature: 0 }))
      if (event.type === 'token') text += event.text
    answers.push({ content, text })
  }
  await engine.close()
  return answers
}

/** Writes models of 30 to 60 MB, in another process. */
async function synthetic(): Promise<string[]> {
  const script = fileURLToPath(import.meta.url)
  await promisify(execFile)(process.execPath, ['--disable-warning=ExperimentalWarning', script, '--write', folder])
  return (await readdir(folder)).sort().map((file) => join(folder, file))
}

function nameOf(path: string): string {
  return basename(path, '.gguf')
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1e6)
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
