/**
 * Asks the guides about the cases of the JSON-Schema-Test-Suite (test/vectors/json_schema_suite.py),
 * and writes what they say as the table of docs/json-schema.md.
 */
import { readFileSync } from 'node:fs'
import type { Guide, JsonSchema } from '../../src/index.ts'
import { accepts, bytesGuides } from './bytes-guides.ts'

interface Case {
  readonly drafts: readonly string[]
  readonly file: string
  readonly about: string
  readonly schema: JsonSchema
  readonly valid: readonly unknown[]
  readonly invalid: readonly unknown[]
}

/** What the guides say of one case. */
export interface Verdict {
  readonly file: string
  readonly about: string
  /** Why the schema is refused; undefined if it is not. */
  readonly refusal: string | undefined
  /** Number of valid and invalid instances, and those that the guide takes for the other. */
  readonly valid: number
  readonly invalid: number
  readonly missed: readonly string[]
  readonly wrong: readonly string[]
}

/** Most orders of an instance's members to try. A grammar fixes the order. */
const mostOrders = 120

/** Reads the suite as text, so that numbers stay as they are written. */
export function suiteCases(): Case[] {
  const file = new URL('../vectors/json-schema-suite.json', import.meta.url)
  return JSON.parse(readFileSync(file, 'utf8'), (_name, value, context?: { readonly source?: string }) => {
    return typeof value === 'number' && context?.source !== undefined ? new Literal(context.source) : value
  }).cases
}

/** A number as it is written: 1.0 is an integer whose text is not that of 1. */
class Literal {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

/** Returns the verdicts on all cases. */
export function suiteVerdicts(cases: readonly Case[] = suiteCases()): Verdict[] {
  const guides = bytesGuides()
  return cases.map(({ file, about, schema, valid, invalid }) => {
    const guide: Guide = { kind: 'json_schema', schema: written(schema) }
    const verdict = { file, about, valid: valid.length, invalid: invalid.length, missed: [], wrong: [] }
    try {
      guides.compile(guide)
    } catch (error) {
      return { ...verdict, refusal: (error as Error).message }
    }
    const taken = (instance: unknown) => {
      for (const order of orders(instance)) if (accepts(guides, guide, order)) return true
      return false
    }
    const missed = valid.filter((instance) => !taken(instance)).map(written)
    const wrong = invalid.filter(taken).map(written)
    return { ...verdict, refusal: undefined, missed, wrong }
  })
}

function written(value: unknown): string {
  if (value instanceof Literal) return value.text
  if (Array.isArray(value)) return `[${value.map(written).join(', ')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  return `{${Object.entries(value)
    .map(([name, one]) => `${JSON.stringify(name)}: ${written(one)}`)
    .join(', ')}}`
}

/** Writes an instance with its members in each order, up to a number. */
function orders(value: unknown): string[] {
  if (value instanceof Literal || typeof value !== 'object' || value === null) return [written(value)]
  if (Array.isArray(value)) return products(value.map(orders)).map((items) => `[${items.join(', ')}]`)
  const members = Object.entries(value).map(([name, one]) =>
    orders(one).map((text) => `${JSON.stringify(name)}: ${text}`),
  )
  return permutations(members)
    .flatMap((some) => products(some))
    .slice(0, mostOrders)
    .map((some) => `{${some.join(', ')}}`)
}

function products(lists: readonly (readonly string[])[]): string[][] {
  let all: string[][] = [[]]
  for (const list of lists) all = all.flatMap((some) => list.map((one) => [...some, one])).slice(0, mostOrders)
  return all
}

function permutations<T>(list: readonly T[]): T[][] {
  if (list.length < 2 || list.length > 5) return [[...list]]
  return list.flatMap((one, at) => permutations(list.toSpliced(at, 1)).map((rest) => [one, ...rest]))
}

/** Returns docs/json-schema.md. */
export function suiteDocument(verdicts: readonly Verdict[]): string {
  const files = [...new Set(verdicts.map(({ file }) => file))].sort()
  const rows = files.map((file) => {
    const of = verdicts.filter((verdict) => verdict.file === file)
    const sum = (count: (verdict: Verdict) => number) => of.reduce((total, verdict) => total + count(verdict), 0)
    const refused = of.filter(({ refusal }) => refusal !== undefined).length
    const kept = (count: (verdict: Verdict) => number) => sum((one) => (one.refusal === undefined ? count(one) : 0))
    const missed = sum(({ missed }) => missed.length)
    return `| ${file} | ${of.length} | ${refused} | ${kept(({ valid }) => valid) - missed} | ${missed} | ${kept(({ invalid }) => invalid)} | ${sum(({ wrong }) => wrong.length)} |`
  })
  const reasons = new Map<string, Set<string>>()
  for (const { file, refusal } of verdicts)
    if (refusal !== undefined) reasons.set(reasonOf(refusal), (reasons.get(reasonOf(refusal)) ?? new Set()).add(file))
  const why = [...reasons].sort(([one], [other]) => (one < other ? -1 : 1))
  return `${head}
| file of the suite | schemas | refused | valid, accepted | valid, not accepted | invalid, rejected or accepted | accepted though invalid |
|---|---|---|---|---|---|---|
${rows.join('\n')}

## What is refused

| why | files of the suite |
|---|---|
${why.map(([reason, of]) => `| ${reason} | ${[...of].sort().join(', ')} |`).join('\n')}
`
}

/** Returns a refusal without its place and the names in it. */
function reasonOf(refusal: string): string {
  const [reason = ''] = refusal.replace(/^the guide \(json_schema\)(?: at .*?)?: (?=[^/])/, '').split('\n')
  return reason
    .replace(/ (?:min|max)=.*/, '')
    .replace(/^Value for 'multipleOf' .*/, 'a multipleOf of more than 15 digits')
    .replace(/^patternProperty regexes .*/, 'patternProperties that match the same name')
    .replace(/^at least \d+ properties.*/, 'minProperties of names that the schema does not require')
    .replace(/"[^"]*" leads (out of|to nothing)/, 'leads $1')
    .replace(/"[^"]*" is not a plain path.*/, 'is not a plain path such as #/$defs/name')
    .replaceAll('|', '\\|')
    .slice(0, 160)
}

const head = `# JSON schemas

Written by \`npm run check:schema-suite\`; do not edit.

An answer under a JSON schema is valid under it, or the request is refused with the place of what
can't be kept to. The table says what becomes of the public JSON-Schema-Test-Suite, drafts 7 and
2020-12, the optional cases and the formats included. A grammar fixes the order of properties, which
is that of the schema, so that a valid instance counts as accepted if it is in some order.

Formats are kept to, not noted only. Patterns are regexes of ECMA-262 without
back-references, and without look-around but for what zod writes for durations and Pydantic for
decimals. \`contentEncoding\` is kept to; a \`contentMediaType\` of JSON is refused, and any other
changes nothing. Valid instances that are not accepted are texts that a model need not write: 1.0 for
an integer, an internationalized host name, a second 60 outside of UTC, an IPv6 address that ends in
an IPv4 one, and values that are valid only because formats may be ignored.
`
