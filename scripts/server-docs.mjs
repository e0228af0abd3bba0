/**
 * `npm run docs:server`: writes the tables of fields in docs/server.md from the request schemas.
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
const end = '<!-- end of fields -->'

/**
 * The tables: a column for each form of request with the schema's name, and the schemas of parts with
 * the forms that have them.
 */
const tables = [
  {
    begin: '<!-- fields: made by npm run docs:server -->',
    forms: {
      chat: ['chat', 'ChatCompletionRequest'],
      completion: ['completions', 'CompletionRequest'],
      response: ['responses', 'ResponseRequest'],
    },
    parts: { 'messages[]': [['chat'], 'ChatMessage'], 'input[]': [['response'], 'ResponseInputItem'] },
  },
  {
    begin: '<!-- fields of texts: made by npm run docs:server -->',
    forms: { embedding: ['embeddings', 'EmbeddingRequest'], rerank: ['rerank', 'RerankRequest'] },
    parts: {},
  },
  {
    begin: '<!-- fields of messages: made by npm run docs:server -->',
    forms: {
      message: ['messages', 'AnthropicMessagesRequest'],
      count: ['count_tokens', 'AnthropicCountRequest'],
    },
    parts: { 'messages[]': [['message', 'count'], 'AnthropicMessage'] },
  },
  {
    begin: '<!-- fields of Ollama: made by npm run docs:server -->',
    forms: { ollamaChat: ['chat', 'OllamaChatRequest'], ollamaText: ['generate', 'OllamaGenerateRequest'] },
    parts: {
      'messages[]': [['ollamaChat'], 'OllamaMessage'],
      options: [['ollamaChat', 'ollamaText'], 'OllamaOptions'],
    },
  },
]

/** Returns the page with up-to-date tables. */
export function serverPage() {
  let text = readFileSync(page, 'utf8')
  for (const table of tables) {
    const before = text.indexOf(table.begin)
    const after = text.indexOf(end, before)
    if (before < 0 || after < before) throw new Error(`docs/server.md has no ${table.begin} ... ${end}`)
    text = `${text.slice(0, before + table.begin.length)}\n${fieldTable(table)}\n${text.slice(after)}`
  }
  return text
}

function fieldTable({ forms, parts }) {
  const { schemas } = openApi().components
  const rows = new Map()
  for (const [form, [, name]] of Object.entries(forms))
    for (const [field, schema] of Object.entries(schemas[name].properties)) put(rows, field, form, schema)
  for (const [path, [owners, name]] of Object.entries(parts))
    for (const branch of branchesOf(schemas[name], schemas))
      for (const [field, schema] of Object.entries(branch.properties))
        for (const form of owners) put(rows, `${path}.${field}`, form, schema)
  const labels = Object.fromEntries(Object.entries(forms).map(([form, [label]]) => [form, label]))
  const lines = [...rows].map(([field, row]) => {
    const cells = Object.keys(forms).map((form) => row.by[form] ?? '')
    return `| \`${field}\` | ${cells.join(' | ')} | ${others(field, Object.keys(forms))}${aboutOf(row, labels)} |`
  })
  const columns = Object.values(labels)
  return [`| field | ${columns.join(' | ')} | |`, `|---|${columns.map(() => '---|').join('')}---|`, ...lines].join('\n')
}

/** Returns the objects that a schema allows. */
function branchesOf(schema, schemas) {
  const found = schema.$ref ? schemas[schema.$ref.split('/').at(-1)] : schema
  const branches = found.oneOf ?? found.anyOf
  return branches ? branches.flatMap((branch) => branchesOf(branch, schemas)) : [found]
}

function put(rows, field, form, schema) {
  const row = rows.get(field) ?? { by: {}, about: {} }
  row.by[form] = schema[handlingKey] ?? 'honoured'
  row.about[form] = (schema.description ?? '').replace(/^(Accepted|Refused)[;,] ?/, '').replaceAll('|', '\\|')
  rows.set(field, row)
}

/** Returns a row's description as a sentence; it names the form if the forms handle the field differently. */
function aboutOf({ by, about }, labels) {
  const [form, text] = Object.entries(about).find(([, text]) => text) ?? []
  if (form === undefined) return ''
  if (new Set(Object.values(by)).size > 1) return `For ${labels[form]}: ${text.replace(/\.$/, '')}.`
  return `${text[0].toUpperCase()}${text.slice(1).replace(/\.$/, '')}.`
}

/** Returns the other names of a field in the forms of a table. */
function others(field, forms) {
  const all = forms.flatMap((form) => Object.entries(aliases[form] ?? {}))
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
