/** Turns a guide into the text that the grammar engine compiles. */
import { about, fieldsOf, listOf, oneOf, textOf, withArguments, wrong } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import { type Guide, guideKinds } from '../base/guide.ts'
import { larkOf } from './gbnf.ts'
import type { GrammarKind } from './instance.ts'
import { checkLarkChains } from './rule-chains.ts'
import { checkSchemaChains } from './schema-chains.ts'

/** A grammar as the engine takes it. */
export interface Grammar {
  /** The kind of the guide, for messages. */
  readonly named: Guide['kind']
  readonly kind: GrammarKind
  readonly text: string
  readonly compact: boolean
  /** Whose grammar it is. */
  readonly tenant: string
  /** Equal for equal grammars of one tenant. */
  readonly key: string
}

/**
 * Largest grammar, in UTF-16 units. The engine has its own limit, in bytes of UTF-8; this one keeps a
 * huge text from being copied.
 */
const longest = 256 * 1024

/** Checks a guide and returns its grammar. Throws `bad_argument`, and `unsupported` for GBNF that can't be converted. */
export function grammarOf(guide: Guide, tenant = ''): Grammar {
  return about('guide', () =>
    withArguments('guide', () => {
      const fields = fieldsOf<Record<string, unknown>>('guide', guide as unknown as Record<string, unknown>)
      const named = oneOf('guide.kind', fields.kind, guideKinds)
      const compact = fields.compact ?? false
      if (typeof compact !== 'boolean') throw wrong('guide.compact', 'true or false', compact)
      const text = sized(named, textFor(named, fields))
      if (named === 'json_schema') checkSchemaChains(named, text)
      if (named === 'lark') checkLarkChains(text)
      const kind = named === 'gbnf' ? 'lark' : named
      const key = `${tenant.length} ${tenant} ${named} ${compact} ${text}`
      return { named, kind, text: named === 'gbnf' ? larkOf(text) : text, compact, tenant, key }
    }),
  )
}

function textFor(kind: Guide['kind'], fields: Readonly<Record<string, unknown>>): string {
  if (kind === 'json_object') return ''
  if (kind === 'json_schema') return schemaText(fields.schema)
  if (kind === 'choice') {
    const choices = listOf<unknown>('guide.choices', fields.choices)
    return JSON.stringify(choices.map((choice, index) => textOf(`guide.choices[${index}]`, choice)))
  }
  return kind === 'regex' ? textOf('guide.regex', fields.regex) : textOf('guide.grammar', fields.grammar)
}

function schemaText(schema: unknown): string {
  if (typeof schema === 'string') return schema
  if (typeof schema !== 'boolean' && (typeof schema !== 'object' || schema === null || Array.isArray(schema)))
    throw wrong('guide.schema', 'a JSON schema: an object, true or false, or its text', schema)
  const text = JSON.stringify(schema)
  if (typeof text !== 'string') throw wrong('guide.schema', 'JSON', schema)
  return text
}

function sized(kind: string, text: string): string {
  if (text.length <= longest) return text
  throw new ForetokenError('bad_argument', `the guide (${kind}) has ${text.length} characters; it may have ${longest}`)
}

/** Most characters of a grammar that compiles within a few milliseconds if it is simple. */
const short = 1024

/** Keywords whose schemas may cost much more than their length tells. */
const costly = /"(allOf|anyOf|oneOf|not|if|\$ref|\$dynamicRef|pattern|patternProperties|multipleOf|format|enum)"|\\u/

/** Returns whether a grammar certainly compiles within a few milliseconds. */
export function isCheap({ kind, text }: Pick<Grammar, 'kind' | 'text'>): boolean {
  if (kind === 'json_object') return true
  if (text.length > short) return false
  return kind === 'choice' || (kind === 'json_schema' && !costly.test(text))
}
