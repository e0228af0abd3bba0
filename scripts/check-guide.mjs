/**
 * `npm run check:guide [-- OPTIONS]`: answers of a model under 200 schemas, half of them from
 * SchemaStore, with 5 seeds each, at temperature 1. Those that end by themselves parse and validate
 * by ajv. Those that were cut are checked as what they are, beginnings: the grammar alone leads each
 * of them to an end, without the model, and the whole validates.
 *
 *     --schemas N   number of schemas (200)
 *     --seeds N     number of seeds (5)
 *     --tokens N    most tokens of an answer (128)
 *     --model NAME  the model (the default one)
 *     --part I/N    this part of the work only, for N processes side by side (1/1)
 *     --streams N   answers at a time (8); large grammars hold much memory, and are refused beyond it
 *     --minutes N   begin no answer after so many minutes
 *     --log FILE    keep what was found, and go on from there in the next run
 */
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { Ajv } from 'ajv'
import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import { loadGuides } from '../node/guides.ts'
import { loadEngine } from '../node/index.ts'
import { completion } from '../test/helpers/completion.ts'
import { realSchemas, schemas } from '../test/helpers/schemas.ts'

const text = (value) => ({ type: 'string', default: value })
const { values: options } = parseArgs({
  options: {
    schemas: text('200'),
    seeds: text('5'),
    tokens: text('128'),
    model: { type: 'string' },
    part: text('1/1'),
    streams: text('8'),
    minutes: text('1440'),
    log: { type: 'string' },
  },
})
const [part, parts] = options.part.split('/').map(Number)
const end = performance.now() + Number(options.minutes) * 60_000

const real = realSchemas().slice(0, Number(options.schemas) >> 1)
const own = schemas(Number(options.schemas) - real.length).map((schema, index) => ({ name: `own-${index}`, schema }))
const known = options.log && existsSync(options.log) ? readFileSync(options.log, 'utf8').trim().split('\n') : []
const outcomes = new Map(known.filter(Boolean).map((line) => [JSON.parse(line).id, JSON.parse(line)]))

const pending = []
for (const [index, { name, schema }] of [...own, ...real].entries())
  for (let seed = 1; seed <= Number(options.seeds); seed++) {
    const id = `${name}/${seed}`
    if (index % parts === part - 1 && !outcomes.has(id)) pending.push({ id, schema, seed })
  }
const all = new Map(pending.map((one) => [one.id, one]))

const engine = await loadEngine(options.model, { kvTokens: 16_384 })
const { config, tokenizer } = engine.archive
const model = { vocab: config.vocab, tokenizer: engine.tokenizer, eosIds: tokenizer.eosIds }
const complete = completion((await loadGuides())(model), model)
/** Validators of draft 2020-12 and of draft 7, which many published schemas are for. */
const validators = [Ajv2020, Ajv].map((Validator) => {
  const ajv = new Validator({ strict: false, validateFormats: true, logger: false })
  formats.default(ajv)
  return ajv
})

/** Returns the check of the first draft under which a schema is one. */
function compiled({ $schema: _, ...schema }) {
  const [newer, older] = validators
  return newer.validateSchema(schema) ? newer.compile(schema) : older.compile(schema)
}

function* requests() {
  for (const { id, schema, seed } of pending) {
    if (performance.now() > end) return
    const prompt = `Write an example of JSON for this schema:\n${JSON.stringify(schema).slice(0, 1000)}\n`
    const guide = { kind: 'json_schema', schema, compact: seed % 2 === 0 }
    yield { id, prompt, guide, temperature: 1, seed, maxTokens: Number(options.tokens) }
  }
}

/** Returns what is wrong with a whole answer; undefined if nothing is. */
function fault(schema, answer) {
  try {
    const valid = compiled(schema)
    return valid(JSON.parse(answer)) ? undefined : `${answer} is not valid: ${validators[0].errorsText(valid.errors)}`
  } catch (error) {
    return `${answer}: ${error.message}`
  }
}

function outcome(id, result, error) {
  if (error) return { id, kind: 'failed', why: error.message }
  const { schema, seed } = all.get(id)
  const guide = { kind: 'json_schema', schema, compact: seed % 2 === 0 }
  const whole = result.finishReason === 'stop'
  const answer = whole ? result.text : complete(guide, result.ids, seed)
  const why = answer === undefined ? `no end was found from ${result.text}` : fault(schema, answer)
  return { id, kind: why ? 'failed' : whole ? 'whole' : 'beginning', ...(why && { why }) }
}

for await (const { id, result, error } of engine.generateMany(requests(), { concurrency: Number(options.streams) })) {
  const found = outcome(id, result, error)
  outcomes.set(id, found)
  if (options.log) appendFileSync(options.log, `${JSON.stringify(found)}\n`)
  if (found.why) console.log(`${id}: ${found.why.slice(0, 1000)}`)
}
await engine.close()
const counts = { whole: 0, beginning: 0, failed: 0, pending: pending.length }
for (const { id, kind } of outcomes.values()) {
  counts[kind]++
  if (all.has(id)) counts.pending--
}
console.log(JSON.stringify(counts))
if (counts.failed > 0 || counts.whole === 0) process.exitCode = 1
