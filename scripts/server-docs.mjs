/**
 * `npm run docs:server`: writes the table of fields in docs/server.md from the request schemas.
 * `--check` compares instead, for CI.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { aliases, templateAliases } from '../edge/aliases.ts'
import { openApi } from '../edge/openapi.ts'
import { handlingKey } from '../edge/schemas/common.ts'
import { root } from './setup.mjs'

const page = join(root, 'docs', 'server.md')
const begin = '<!-- fields: made by npm run docs:server -->'
const end = '<!-- end of fields -->'
/** The tables: requests for text, and requests that compute something of many texts. */
const tables = [
  {
    forms: { chat: 'ChatCompletionRequest', completion: 'CompletionRequest', response: 'ResponseRequest' },
    parts: { 'messages[]': ['chat', 'ChatMessage'], 'input[]': ['response', 'ResponseInputMessage'] },
  },
  { forms: { embedding: 'EmbeddingRequest', rerank: 'RerankRequest' }, parts: {} },
]
const labels = {
  chat: 'chat',
  completion: 'completions',
  response: 'responses',
  embedding: 'embeddings',
  rerank: 'rerank',
}

/** Returns the page with an up-to-date table. */
export function serverPage() {
  const text = readFileSync(page, 'utf8')
  const [before, after] = [text.indexOf(begin), text.indexOf(end)]
  if (before < 0 || after < before) throw new Error(`docs/server.md has no ${begin} ... ${end}`)
  return `${text.slice(0, before + begin.length)}\n${tables.map(fieldTable).join('\n\n')}\n${text.slice(after)}`
}

function fieldTable({ forms, parts }) {
  const { schemas } = openApi().components
  const rows = new Map()
  for (const [form, name] of Object.entries(forms))
    for (const [field, schema] of Object.entries(schemas[name].properties)) put(rows, field, form, schema)
  for (const [path, [form, name]] of Object.entries(parts))
    for (const branch of schemas[name].oneOf ?? schemas[name].anyOf)
      for (const [field, schema] of Object.entries(branch.properties)) put(rows, `${path}.${field}`, form, schema)
  const lines = [...rows].map(([field, row]) => {
    const cells = Object.keys(forms).map((form) => row.by[form] ?? '')
    return `| \`${field}\` | ${cells.join(' | ')} | ${others(field, forms)}${aboutOf(row)} |`
  })
  const heads = Object.keys(forms).map((form) => labels[form])
  return [`| field | ${heads.join(' | ')} | |`, `|---|${heads.map(() => '---|').join('')}---|`, ...lines].join('\n')
}

function put(rows, field, form, schema) {
  const row = rows.get(field) ?? { by: {}, about: {} }
  row.by[form] = schema[handlingKey] ?? 'honoured'
  row.about[form] = (schema.description ?? '').replace(/^(Accepted|Refused)[;,] ?/, '').replaceAll('|', '\\|')
  rows.set(field, row)
}

/** Returns a row's description as a sentence; it names the form if the forms handle the field differently. */
function aboutOf({ by, about }) {
  const [form, text] = Object.entries(about).find(([, text]) => text) ?? []
  if (form === undefined) return ''
  if (new Set(Object.values(by)).size > 1) return `For ${labels[form]}: ${text.replace(/\.$/, '')}.`
  return `${text[0].toUpperCase()}${text.slice(1).replace(/\.$/, '')}.`
}

/** Returns the other names of a field, in any of the forms. */
function others(field, forms) {
  const all = Object.keys(forms).flatMap((form) => Object.entries(aliases[form]))
  const names = new Set(all.filter(([, to]) => to === field).map(([alias]) => `\`${alias}\``))
  if (field === 'chat_template_kwargs') for (const alias of Object.keys(templateAliases)) names.add(`\`${alias}\``)
  return names.size === 0 ? '' : `Also ${[...names].join(', ')}. `
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const made = serverPage()
  if (!process.argv.includes('--check')) writeFileSync(page, made)
  else if (made !== readFileSync(page, 'utf8')) {
    console.error('docs/server.md is out of date; run npm run docs:server')
    process.exitCode = 1
  }
}
