/**
 * Measures foretoken beside its peers on the same weights, in one run:
 *
 *     npm run bench:peers -- [--models DIR] [--model GGUF] [--lengths 128,512] [--runs 3]
 *                            [--only NAME,NAME] [--json]
 *
 * Every engine runs on one thread: ours in Node and in a browser, onnxruntime-web and wllama in
 * headless browsers of their own (Chromium; CHROMIUM names another), llama.cpp through
 * node-llama-cpp. Each first
 * answers a question; one that answers it wrongly is not timed. Then rounds go through all of them
 * in turn, so that a slow spell of the machine hits each. The table gives medians with the range,
 * CPU time beside wall time, and is kept in bench/record. The models are made once, by `python
 * bench/peers/prepare.py MODEL.gguf DIR`.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const here = fileURLToPath(new URL('.', import.meta.url))
const root = join(here, '../..')
if (!existsSync(join(here, 'node_modules'))) {
  process.stderr.write('Installing the peers (once) ...\n')
  // Not `npm ci`: it requires binaries for every platform in the lock file, which not every
  // registry has.
  const install = ['install', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund']
  if (spawnSync('npm', install, { cwd: here, stdio: ['ignore', 2, 2] }).status !== 0)
    fail('npm install in bench/peers failed; check the network and run it again')
}
const { machine } = await import('../machine.ts')
const { contenders } = await import('./contenders.mjs')
const { question, prompts } = await import('./prompts.mjs')
const { summarise, table } = await import('./report.mjs')

const { values } = parseArgs({
  options: {
    models: { type: 'string', default: join(root, '.foretoken/peers') },
    model: { type: 'string' },
    lengths: { type: 'string', default: '128,512' },
    runs: { type: 'string', default: '3' },
    steps: { type: 'string', default: '16' },
    only: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})
if (!existsSync(join(values.models, 'onnx-int8/model.onnx')))
  fail(
    `no models in ${values.models}. Make them once: python bench/peers/prepare.py MODEL.gguf ${values.models}\n` +
      'MODEL.gguf is the default model ("foretoken pull smollm2-135m" tells where it lies)',
  )
const lengths = values.lengths.split(',').map(Number)
const runs = Number(values.runs)
const steps = Number(values.steps)
if (![...lengths, runs, steps].every((n) => Number.isInteger(n) && n > 0 && n <= 1024))
  fail('--lengths, --runs and --steps take whole numbers from 1 to 1024')

const gguf = values.model ?? join(values.models, 'Q4_1.gguf')
const only = values.only?.split(',')
const { list, tokenizer, close } = await contenders({ models: values.models, gguf, only, root, here })
const asked = question(tokenizer)
const texts = prompts(tokenizer, lengths)
const begun = os.loadavg()
const results = []
try {
  for (const contender of list) {
    const result = { name: contender.name, weights: contender.weights, where: contender.where, samples: [] }
    results.push(result)
    try {
      const before = performance.now()
      await contender.load()
      result.load_ms = Math.round(performance.now() - before)
      result.answer = (await contender.answer(asked, 16)).trim()
      result.right = result.answer.includes('Oslo')
      log(
        `${contender.name} ${contender.weights}: ${JSON.stringify(result.answer)}${result.right ? '' : ' - WRONG, not timed'}`,
      )
      if (result.right) await contender.measure(texts[0].slice(0, 16), 2)
    } catch (error) {
      result.error = String(error?.message ?? error)
        .split('\n')[0]
        .slice(0, 200)
      log(`${contender.name} ${contender.weights}: ${result.error}`)
    }
  }
  const timed = list
    .map((contender, n) => [contender, results[n]])
    .filter(([, result]) => result.right && !result.error)
  for (let round = 0; round < runs; round++)
    for (const ids of texts)
      for (const [contender, result] of round % 2 ? timed.toReversed() : timed) {
        const sample = await contender.measure(ids, steps)
        result.samples.push({ tokens: ids.length, ...sample })
        log(
          `round ${round + 1}, ${contender.name} ${contender.weights}, ${ids.length} tokens: ` +
            `${sample.prefill_ms.toFixed(0)} ms, ${sample.decode_ms.toFixed(1)} ms a token`,
        )
      }
} finally {
  await close()
}

const rows = summarise(results, lengths)
const record = {
  kind: 'peers',
  machine: machine(),
  date: new Date().toISOString(),
  loadavg: { before: begun, after: os.loadavg() },
  threads: 1,
  runs,
  steps,
  versions: versions(),
  rows,
  results,
}
const file = only ? undefined : await keep(record)
process.stdout.write(
  values.json
    ? `${JSON.stringify({ record: file ?? null, rows })}\n`
    : `${table(rows, lengths)}\n\n${file ?? 'not kept: --only leaves engines out'}\n`,
)
process.exit(0)

/** Writes bench/record/<machine>/<date>-peers.json. */
async function keep(record) {
  const slug = `${record.machine.cpu}-${record.machine.cores}c`.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-')
  const folder = join(root, 'bench/record', slug)
  await mkdir(folder, { recursive: true })
  const path = join(folder, `${record.date.slice(0, 10)}-peers.json`)
  await writeFile(path, `${JSON.stringify(record, null, 1)}\n`)
  return path
}

function versions() {
  const { dependencies } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'))
  return dependencies
}

function log(line) {
  process.stderr.write(`${line}\n`)
}

function fail(message) {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}
