// Lets llama.cpp continue the GGUFs beside this file greedily, and tiny random models in each format of
// weights, and writes the ids with the margins of their logits to llama-cpp.json.
//
//     npm install --prefix /tmp/llama --ignore-scripts node-llama-cpp@3.22.1
//     node test/vectors/llama_cpp.mjs /tmp/llama
//
// The models in formats are those of test/helpers/tiny-model.ts, which tests make again. llama.cpp reads no
// windows of Mistral and Phi-3, so tests read their files without them.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { tensorBlocks } from '../../src/base/model.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

const steps = 24
const here = fileURLToPath(new URL('.', import.meta.url))
const folder = resolve(process.argv[2] ?? '.')
const found = createRequire(join(folder, 'package.json')).resolve('node-llama-cpp')
const { version } = JSON.parse(readFileSync(join(folder, 'node_modules/node-llama-cpp/package.json'), 'utf8'))
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(found).href)
const llama = await getLlama({ gpu: false, build: 'never', maxThreads: 1, logLevel: LlamaLogLevel.error })

/** Returns the greedy ids after each of `prompts`, and how much likelier each was than the next best. */
async function continued(modelPath, prompts, contextSize) {
  const model = await llama.loadModel({ modelPath, useMmap: false })
  const context = await model.createContext({ contextSize, threads: 1, flashAttention: false })
  const cases = []
  for (const { name, ids } of prompts) {
    const sequence = context.getSequence()
    const read = sequence.evaluateWithMetadata(ids, { probabilities: true }, { temperature: 0, yieldEogToken: true })
    const [greedy, margins] = [[], []]
    for await (const { token, probabilities } of read) {
      const [first, second] = [...probabilities.values()].sort((a, b) => b - a)
      greedy.push(token)
      margins.push(Number(Math.log(first / second).toFixed(4)))
      if (greedy.length === steps) break
    }
    sequence.dispose()
    cases.push({ name, ids, greedy, margins })
  }
  await context.dispose()
  await model.dispose()
  return cases
}

const models = []
for (const name of readdirSync(here).filter((name) => name.startsWith('tiny-'))) {
  const golden = join(here, name, 'golden.json')
  const path = join(here, name, 'gguf', `${name}.gguf`)
  let cases
  try {
    readFileSync(path)
    cases = JSON.parse(readFileSync(golden, 'utf8')).cases
  } catch {
    continue
  }
  // LongRoPE's factors go by the size of the context.
  const first = name === 'tiny-phi3' ? 256 : 512
  const [within, beyond] = [true, false].map((fits) => cases.filter(({ ids }) => ids.length + steps <= first === fits))
  const made = await continued(path, within, first)
  if (beyond.length > 0) made.push(...(await continued(path, beyond, 512)))
  models.push({ folder: name, cases: made })
}
const scratch = mkdtempSync(join(tmpdir(), 'llama-'))
const prompts = ['the river rises', 'a town by the sea where ships come in and men wait for them'].map((text) => ({
  name: text,
  ids: [...new TextEncoder().encode(text)],
}))
const refused = []
for (const type of Object.keys(tensorBlocks)) {
  const path = join(scratch, `${type}.gguf`)
  writeFileSync(path, tinyGguf({ type }))
  try {
    models.push({ type, cases: await continued(path, prompts, 256) })
  } catch (error) {
    refused.push({ type, why: String(error.message ?? error) })
  }
}
rmSync(scratch, { recursive: true })
for (const { type, why } of refused) console.log(`${type} is refused: ${why}`)
const lines = models.map((model) => JSON.stringify(model)).join(',\n')
const head = { magic: 'foretoken-golden', version: 1, kind: 'llama.cpp', made_by: 'node test/vectors/llama_cpp.mjs' }
const packages = { 'node-llama-cpp': version }
const text = JSON.stringify({ ...head, packages, refused: refused.map(({ type }) => type) })
writeFileSync(join(here, 'llama-cpp.json'), `${text.slice(0, -1)}, "models": [\n${lines}\n]}\n`)
for (const { folder, type, cases } of models)
  console.log(folder ?? type, cases.map(({ ids, margins }) => `${ids.length}: ${Math.min(...margins)}`).join(', '))
process.exit(0)
