/** The flags that give an answer a shape. */
import type { Guide } from '../node/index.ts'
import type { Flags } from './flags.ts'
import { UsageError } from './parse.ts'
import { readText } from './text.ts'

const types = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null']
const names = ['json-schema', 'choice', 'regex', 'grammar'] as const

/** Returns the guide that the flags ask for; undefined for plain text. Throws `io`, `not_found`. */
export async function guideOfFlags(flags: Flags): Promise<Guide | undefined> {
  const [name, second] = names.filter((name) => flags[name] !== undefined)
  if (second) throw new UsageError(`--${name} and --${second} both give the answer a shape; use one of them`)
  const { 'json-schema': schema, choice, regex, grammar } = flags
  if (schema !== undefined) return { kind: 'json_schema', schema: await schemaOf(schema) }
  if (choice !== undefined) return { kind: 'choice', choices: choice.flatMap((list) => list.split(',')) }
  if (regex !== undefined) return { kind: 'regex', regex }
  if (grammar === undefined) return undefined
  const text = await readText(grammar)
  return { kind: /^[ \t]*[a-zA-Z][\w-]*[ \t]*::=/m.test(text) ? 'gbnf' : 'lark', grammar: text }
}

/** Reads a schema: the name of a type, the schema itself, or a file of it, or stdin for `-`. */
async function schemaOf(value: string): Promise<string> {
  if (types.includes(value)) return JSON.stringify({ type: value })
  return value.trimStart().startsWith('{') ? value : readText(value)
}
