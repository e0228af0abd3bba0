/**
 * Makes test/vectors/schemastore.json, the real schemas of `npm run check:guide`: a hundred small ones
 * of SchemaStore (Apache-2.0) that compile, without their texts for people.
 *
 *     git clone https://github.com/SchemaStore/schemastore && git -C schemastore checkout 3b6446ad
 *     node scripts/schemastore.mjs schemastore
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bytesGuides } from '../test/helpers/bytes-guides.ts'

const count = 100
const [clone] = process.argv.slice(2)
if (!clone) throw new Error('name a clone of SchemaStore')
const folder = join(clone, 'src/schemas/json')

/** Members for people and editors, in the places where a schema stands. */
const notes =
  /^(?:\$schema|\$id|id|\$comment|title|description|default|examples|deprecated|deprecationMessage|fileMatch|url|version|errorMessage|x-.*|.*[dD]escriptions?|markdown.*|defaultSnippets|doNotSuggest|suggest.*|allowTrailingCommas|allowComments|tsType|meta:.*)$/
const byName = ['properties', 'patternProperties', '$defs', 'definitions', 'dependencies']
const values = ['enum', 'const', 'required']

function bare(schema) {
  if (Array.isArray(schema)) return schema.map(bare)
  if (typeof schema !== 'object' || schema === null) return schema
  const members = Object.entries(schema).filter(([name]) => !notes.test(name))
  const named = (all) => Object.fromEntries(Object.entries(all).map(([name, one]) => [name, bare(one)]))
  return Object.fromEntries(
    members.map(([name, value]) => [
      name,
      values.includes(name) ? value : byName.includes(name) ? named(value) : bare(value),
    ]),
  )
}

const guides = bytesGuides()
const refused = new Map()
const found = readdirSync(folder)
  .filter((name) => name.endsWith('.json'))
  .sort()
  .flatMap((name) => {
    const schema = bare(JSON.parse(readFileSync(join(folder, name), 'utf8').replace(/^\ufeff/, '')))
    const size = JSON.stringify(schema).length
    if (size < 60 || size > 3000) return []
    try {
      guides.compile({ kind: 'json_schema', schema })
      return [{ name, schema }]
    } catch (error) {
      const why = String(error.message).replace(/^.*?: /, '')
      refused.set(why, (refused.get(why) ?? 0) + 1)
      return []
    }
  })
const chosen = found.filter(
  (_, index) => Math.floor((index * count) / found.length) !== Math.floor(((index - 1) * count) / found.length),
)
const file = new URL('../test/vectors/schemastore.json', import.meta.url)
const source = 'https://github.com/SchemaStore/schemastore, 3b6446ad8a077bac56f4a4796c0b7fd88927fc8e, Apache-2.0'
const lines = chosen.map((one) => JSON.stringify(one)).join(',\n')
writeFileSync(file, `{"source": ${JSON.stringify(source)}, "schemas": [\n${lines}\n]}\n`)
console.log(`${found.length} of the small schemas compile, ${chosen.length} are written; refused:`)
for (const [why, times] of [...refused].sort((a, b) => b[1] - a[1])) console.log(`${times} ${why.slice(0, 120)}`)
