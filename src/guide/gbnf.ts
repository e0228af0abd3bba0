/** Converts GBNF, the grammars of llama.cpp, to the grammar engine's variant of Lark. */
import { ForetokenError } from '../base/errors.ts'
import { type CharRange, type Expression, parseGbnf } from './gbnf-parser.ts'
import { checkGbnfChains } from './rule-chains.ts'

/** The rule that a whole answer matches. */
const root = 'root'

/**
 * Returns a Lark grammar of the same language. Literals are split into characters: the engine reads
 * the longest lexeme and never goes back, and only lexemes of one character each leave it no choice.
 * Throws `bad_argument` for a malformed grammar and for one whose rules lead too deep, and `unsupported` for one with tokens.
 */
export function larkOf(text: string): string {
  const rules = parseGbnf(text)
  if (!rules.has(root)) throw new ForetokenError('bad_argument', `GBNF: there is no rule ${root}`)
  checkGbnfChains(rules)
  const names = new Map([...rules.keys()].map((name, index) => [name, `r${index}`]))
  const nameOf = (name: string) => {
    const found = names.get(name)
    if (found === undefined)
      throw new ForetokenError('bad_argument', `GBNF: the rule ${name.slice(0, 80)} is not defined`)
    return found
  }
  const written = [...rules].map(([name, rule]) => `${nameOf(name)}: ${larkExpression(rule, nameOf)}`)
  return [`start: ${nameOf(root)}`, ...written].join('\n')
}

function larkExpression(part: Expression, nameOf: (name: string) => string): string {
  const inner = (one: Expression) => larkExpression(one, nameOf)
  if (part.kind === 'rule') return nameOf(part.name)
  if (part.kind === 'literal')
    return part.text === ''
      ? '""'
      : `(${Array.from(part.text, (one) => lexeme([[codeOf(one), codeOf(one)]], false)).join(' ')})`
  if (part.kind === 'class') return lexeme(part.ranges, part.negated)
  if (part.kind === 'choice') return `(${part.options.map(inner).join(' | ')})`
  if (part.kind === 'sequence') return part.parts.length === 0 ? '""' : `(${part.parts.map(inner).join(' ')})`
  const { least, most } = part
  if (least === 0 && most === 0) return '""'
  if (least <= 1 && most === undefined) return `(${inner(part.part)})${least === 0 ? '*' : '+'}`
  if (least === 0 && most === 1) return `(${inner(part.part)})?`
  return `(${inner(part.part)}){${least},${most ?? ''}}`
}

/** Returns a regex of one character. */
function lexeme(ranges: readonly CharRange[], negated: boolean): string {
  if (ranges.length === 0) return '/(?s:.)/'
  const shown = (code: number) => `\\x{${code.toString(16).toUpperCase()}}`
  const body = ranges.map(([from, to]) => (from === to ? shown(from) : `${shown(from)}-${shown(to)}`)).join('')
  return `/[${negated ? '^' : ''}${body}]/`
}

function codeOf(character: string): number {
  return character.codePointAt(0) ?? 0
}
