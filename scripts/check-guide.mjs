/**
 * `npm run check:guide [-- SCHEMAS SEEDS MODEL]`: answers under 200 schemas with 5 seeds each, at
 * temperature 1, validate by ajv. An answer that was cut is checked as what it is: the beginning of
 * one that is continued with its ends made likely.
 */
import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import { loadEngine } from '../node/index.ts'
import { schemas } from '../test/helpers/schemas.ts'

const [count = '200', seeds = '5', model] = process.argv.slice(2)
const engine = await loadEngine(model, { kvTokens: 16_384 })
const ajv = new Ajv2020({ strict: false })
formats.default(ajv)

/** Tokens with a quote or a closing bracket are likelier, and white space is unlikely. */
const ending = Object.fromEntries(
  Array.from({ length: engine.tokenizer.vocabSize }, (_, id) => [
    id,
    Buffer.from(engine.tokenizer.tokenBytes(id)).toString(),
  ])
    .map(([id, text]) => [id, /^\s+$/.test(text) ? -100 : text === '"' ? 100 : /^[\]}]$/.test(text) ? 30 : 0])
    .filter(([, bias]) => bias !== 0),
)

function* requests() {
  for (const [index, schema] of schemas(Number(count)).entries())
    for (let seed = 1; seed <= Number(seeds); seed++) {
      const prompt = `Write an example of JSON for this schema:\n${JSON.stringify(schema)}`
      const guide = { kind: 'json_schema', schema, compact: seed % 2 === 0 }
      yield { id: `${index}/${seed}`, prompt, guide, temperature: 1, seed, maxTokens: 256 }
    }
}

const all = new Map([...requests()].map((request) => [request.id, request]))
const found = { whole: 0, cut: 0, continued: 0, failed: 0 }
const fault = (id, why) => {
  found.failed++
  console.log(`${id}: ${why}`)
}

function check(id, text) {
  const { schema } = all.get(id).guide
  const valid = ajv.compile(schema)
  // RFC 3339 has a second 60 in some minutes, which a grammar cannot know.
  const value = JSON.parse(text.replaceAll(/(?<=\d\d:\d\d:)60/g, '59'))
  if (!valid(value)) fault(id, `${text} is not valid: ${ajv.errorsText(valid.errors)}`)
}

const cut = []
for await (const { id, result, error } of engine.generateMany(all.values(), { concurrency: 16 })) {
  if (error) fault(id, error.message)
  else if (result.finishReason !== 'stop') cut.push({ ...all.get(id), after: result.ids, maxTokens: 1024 })
  else {
    found.whole++
    check(id, result.text)
  }
}
found.cut = cut.length
const rest = cut.map((request) => ({ ...request, temperature: 0, logitBias: ending }))
for await (const { id, result, error } of engine.generateMany(rest, { concurrency: 16 })) {
  if (error) fault(id, error.message)
  else if (result.finishReason === 'stop') {
    found.continued++
    check(id, result.text)
  }
}
await engine.close()
console.log(JSON.stringify(found))
if (found.failed > 0 || found.whole === 0) process.exitCode = 1
