/** Bounds the chains of rules in Lark and GBNF. */
import { chainOf, tooDeep } from './chains.ts'
import type { Expression } from './gbnf-parser.ts'
import { schemaChain } from './schema-chains.ts'

interface Rule {
  least: number
  readonly to: [target: string, levels: number][]
}

/** Throws `bad_argument` if the rules of a GBNF grammar lead too deep. */
export function checkGbnfChains(rules: ReadonlyMap<string, Expression>): void {
  const found = new Map<string, Rule>()
  for (const [name, rule] of rules) found.set(name, { least: 1, to: referencesOf(rule) })
  checkRules('gbnf', found)
}

/** Throws `bad_argument` if the rules of a Lark grammar, or the schemas in them, lead too deep. */
export function checkLarkChains(text: string): void {
  checkRules('lark', larkRules(text))
}

function checkRules(kind: string, rules: ReadonlyMap<string, Rule>): void {
  const { levels, at } = chainOf(rules.keys(), (name) => rules.get(name) ?? { least: 0, to: [] })
  if (at !== undefined) throw tooDeep(kind, `the rule ${at}`, levels)
}

/** A rule is a level, and so is a group of alternatives that is repeated. */
function referencesOf(rule: Expression): [string, number][] {
  const to: [string, number][] = []
  const pending: [part: Expression, depth: number][] = [[rule, 0]]
  for (let next = pending.pop(); next; next = pending.pop()) {
    const [part, depth] = next
    if (part.kind === 'rule') to.push([part.name, Math.max(1, depth >> 1)])
    else if (part.kind === 'repeat') pending.push([part.part, depth + 1])
    else if (part.kind === 'sequence') for (const inner of part.parts) pending.push([inner, depth])
    else if (part.kind === 'choice') for (const option of part.options) pending.push([option, depth + 1])
  }
  return to
}

const tokens =
  /#[^\n]*|\/\/[^\n]*|"(?:\\[\s\S]|[^"\\])*"?|\/(?:\\[\s\S]|[^/\\])*\/?|%json\b|%lark\s*\{|[\p{L}_](?:[\p{L}\p{N}_]|-(?!>))*|::|[:()[\]{}]/gu

/**
 * Finds the names in each rule's body. Reads no more of the syntax than that: a name before a colon
 * outside of brackets begins a rule, and every other name belongs to the rule before it.
 */
function larkRules(text: string): Map<string, Rule> {
  const rules = new Map<string, Rule>()
  const rule = (name: string) => {
    const known = rules.get(name) ?? { least: 1, to: [] }
    rules.set(name, known)
    return known
  }
  let current: Rule = { least: 0, to: [] }
  let depth = 0
  let pending: string | undefined
  const outer: { readonly current: Rule; readonly depth: number }[] = []
  const flush = () => {
    if (pending !== undefined) current.to.push([pending, 1])
    pending = undefined
  }
  tokens.lastIndex = 0
  for (let found = tokens.exec(text); found; found = tokens.exec(text)) {
    const [token] = found
    if (token.startsWith('#') || token.startsWith('//') || token === '::') continue
    if (token === ':') {
      if (depth > 0 || pending === undefined) continue
      current = rule(pending)
      pending = undefined
    } else if (token === '%json') {
      flush()
      const end = jsonEnd(text, tokens.lastIndex)
      current.least = Math.max(current.least, 1 + depth + schemaChain(text.slice(tokens.lastIndex, end)).levels)
      tokens.lastIndex = end
    } else if (token.startsWith('%lark')) {
      flush()
      current.to.push(['start', Math.max(1, depth)])
      outer.push({ current, depth })
      depth = 0
    } else if ('([{'.includes(token)) {
      if (token === '(') flush()
      depth++
    } else if (')]}'.includes(token)) {
      const around = depth === 0 && token === '}' ? outer.pop() : undefined
      if (around) {
        flush()
        current = around.current
        depth = around.depth
      } else depth = Math.max(0, depth - 1)
    } else if (!token.startsWith('"') && !token.startsWith('/')) {
      if (depth > 0) current.to.push([token, depth])
      else {
        flush()
        pending = token
      }
    }
  }
  flush()
  return rules
}

/** Returns where the values after `%json` begin and end. */
export function jsonInLark(text: string): [from: number, to: number][] {
  const found: [number, number][] = []
  const scan = new RegExp(tokens)
  for (let token = scan.exec(text); token; token = scan.exec(text)) {
    if (token[0] !== '%json') continue
    const from = scan.lastIndex
    scan.lastIndex = jsonEnd(text, from)
    if (scan.lastIndex > from) found.push([from, scan.lastIndex])
  }
  return found
}

const jsonTokens = /"(?:\\[\s\S]|[^"\\])*"?|[{}]/g

/** Returns where the object that begins at `from` ends, the text's end if nowhere; `from` if none begins there. */
function jsonEnd(text: string, from: number): number {
  const begin = text.slice(from).search(/\S/)
  if (begin < 0 || text[from + begin] !== '{') return from
  let depth = 0
  jsonTokens.lastIndex = from
  for (let found = jsonTokens.exec(text); found; found = jsonTokens.exec(text)) {
    if (found[0] === '{') depth++
    else if (found[0] === '}' && --depth === 0) return jsonTokens.lastIndex
  }
  return text.length
}
