/**
 * Takes models of true shapes with random weights (write.ts) through loading, 512 tokens of prefill,
 * decode, and a server:
 *
 *     npm run bench:large -- [--models llama3.2-1b,qwen3-0.6b] [--rounds 5] [--folder DIR] [--json]
 *
 * Loading is compared with reading the file into fresh memory, in turns, each in a process of its
 * own, with the file in the page cache. `cat FILE` into a pipe is timed beside them. Models are
 * written to DIR, by default a temporary folder, and deleted afterwards.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { defined } from '../../src/base/at.ts'
import { machine } from '../machine.ts'
import { round, summary } from '../stats.ts'
import { listening } from '../ttft/listening.ts'
import type { Phase, Speed } from './phases.ts'
import { largeModels } from './shapes.ts'
import { writeLargeModel } from './write.ts'

const { values } = parseArgs({
  options: {
    models: { type: 'string', default: 'llama3.2-1b' },
    rounds: { type: 'string', default: '5' },
    folder: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})
const names = values.models.split(',')
for (const name of names)
  if (!Object.hasOwn(largeModels, name)) {
    console.error(`no shape ${name}; there are ${Object.keys(largeModels).join(', ')}`)
    process.exit(2)
  }
const run = promisify(execFile)
const ways = ['read', 'load 1', 'load 2', 'cat'] as const
type Way = (typeof ways)[number]

const folder = values.folder ?? (await mkdtemp(join(tmpdir(), 'foretoken-large-')))
const rows = []
try {
  for (const name of names) rows.push(await measure(name))
} finally {
  if (values.folder === undefined) await rm(folder, { recursive: true, force: true })
}
console.log(JSON.stringify({ bench: 'large', machine: machine(), rounds: Number(values.rounds), rows }, null, 1))

async function measure(name: string) {
  const path = join(folder, `${name}.gguf`)
  try {
    const bytes = await writeLargeModel(path, defined(largeModels[name]))
    const taken = new Map<Way, Phase[]>(ways.map((way) => [way, []]))
    // The first of each warms the page cache, and is not counted.
    for (let round = 0; round <= Number(values.rounds); round++)
      for (const way of ways) {
        note(`${name}  round ${round} of ${values.rounds}  ${way}`)
        const phase = way === 'cat' ? await cat(path) : await phaseOf<Phase>(way.split(' '), path)
        if (round > 0) taken.get(way)?.push(phase)
      }
    note(`${name}  prefill and decode`)
    const speed = await phaseOf<Speed>(['speed', '2'], path)
    note(`${name}  serve`)
    const row = { model: name, bytes, loading: loading(taken, bytes), speed: rounded(speed), serve: await serve(path) }
    if (!values.json) console.error(row)
    return row
  } finally {
    await rm(path, { force: true })
  }
}

/** Times of each way, and those of loading divided by those of reading, round by round. */
function loading(taken: ReadonlyMap<Way, readonly Phase[]>, bytes: number) {
  const read = defined(taken.get('read'))
  return Object.fromEntries(
    [...taken].map(([way, phases]) => {
      const of = (key: keyof Phase) => round(summary(phases.map((phase) => phase[key])).median)
      const ratio = (key: 'ms' | 'cpu_ms') =>
        round(summary(phases.map((phase, index) => phase[key] / defined(read[index])[key])).median)
      const peak = of('peak_bytes') / bytes
      const numbers = { ms: of('ms'), cpu_ms: of('cpu_ms'), of_read: ratio('ms'), cpu_of_read: ratio('cpu_ms') }
      return [way, { ...numbers, ...(peak > 0 && { peak_of_file: round(peak) }) }]
    }),
  )
}

async function phaseOf<T>([phase = '', threads = '1']: readonly string[], path: string): Promise<T> {
  const script = fileURLToPath(new URL('./phases.ts', import.meta.url))
  const args = ['--disable-warning=ExperimentalWarning', script, phase, path, threads]
  return JSON.parse((await run(process.execPath, args)).stdout)
}

/** Runs `cat` into a pipe, whose other end counts. */
async function cat(path: string): Promise<Phase> {
  const script = 'TIMEFORMAT="%3R %3U %3S"; time (cat "$0" | wc -c >/dev/null)'
  const { stderr } = await run('bash', ['-c', script, path])
  const [real = 0, user = 0, system = 0] = stderr.trim().split(' ').map(Number)
  return { ms: real * 1000, cpu_ms: (user + system) * 1000, peak_bytes: 0 }
}

/** Asks a server for a streamed answer. Resolves with the milliseconds to its first text. */
async function serve(path: string) {
  const cli = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
  const begun = performance.now()
  const server = await listening(cli, ['serve', '-m', path, '--port', '0', '--context', '1024'])
  try {
    const ready = performance.now()
    const body = { model: 'x', stream: true, max_tokens: 8, messages: [{ role: 'user', content: 'bade kilo mane' }] }
    const listed = await (await fetch(`${server.url}/v1/models`)).json()
    const response = await fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...body, model: listed.data[0].id }),
    })
    const text = await response.text()
    if (response.status !== 200 || !text.trimEnd().endsWith('[DONE]')) throw new Error(`${response.status} ${text}`)
    return { ready_ms: Math.round(ready - begun), answer_ms: Math.round(performance.now() - ready) }
  } finally {
    server.stop()
  }
}

function rounded(speed: Speed): Speed {
  return Object.fromEntries(Object.entries(speed).map(([key, value]) => [key, round(value)])) as unknown as Speed
}

function note(text: string): void {
  if (!values.json) process.stderr.write(`${text}\n`)
}
