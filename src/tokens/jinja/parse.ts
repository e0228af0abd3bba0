/** A chat template's text as a tree, by `@huggingface/jinja`. Its tree is used, and evaluated in `evaluate.ts`. */
import { parse, tokenize } from '@huggingface/jinja'

/** A statement or an expression; its other fields depend on its type. */
export interface Node {
  readonly type: string
  readonly value?: unknown
  readonly [field: string]: unknown
}

export interface Program extends Node {
  readonly body: readonly Node[]
}

/** Longest template in characters. The longest that are published have some 50,000. */
export const maxTemplate = 1 << 18
/** Longest run of white space: the package's expression for `generation` blocks takes the square of it. */
const maxSpace = 1 << 10
/** Brackets within brackets, and statements within statements. */
const maxNesting = 100

/** Throws for what is no template, or one that nobody would write. */
export function parseTemplate(source: string): Program {
  if (source.length > maxTemplate)
    throw new Error(`it has ${source.length} characters; at most ${maxTemplate} are read`)
  if (new RegExp(`\\s{${maxSpace + 1}}`).test(source))
    throw new Error(`it has more than ${maxSpace} spaces or line ends in a row`)
  const tokens = tokenize(source, { lstrip_blocks: true, trim_blocks: true }) as { type: string; value: string }[]
  checkNesting(tokens)
  return parse(tokens as never) as unknown as Program
}

const opening = new Set(['OpenParen', 'OpenSquareBracket', 'OpenCurlyBracket'])
const closing = new Set(['CloseParen', 'CloseSquareBracket', 'CloseCurlyBracket'])
const blocks = new Set(['if', 'for', 'macro', 'call', 'filter'])

/** The parser goes deeper with each bracket, block, sign, `not`, `elif` and `else`: with its stack. */
function checkNesting(tokens: readonly { type: string; value: string }[]): void {
  let depth = 0
  let blockDepth = 0
  let chain = 0
  for (const [at, { type, value }] of tokens.entries()) {
    const statement = tokens[at - 1]?.type === 'OpenStatement'
    if (opening.has(type)) depth++
    else if (closing.has(type)) depth--
    else if (statement && blocks.has(value)) blockDepth++
    else if (statement && value.startsWith('end')) blockDepth = Math.max(0, blockDepth - 1)
    const deeper = type === 'UnaryOperator' || ['not', 'else', 'elif', '-', '+'].includes(value)
    if (type === 'CloseStatement' || type === 'CloseExpression') chain = 0
    else if (deeper && !statement) chain++
    if (depth > maxNesting || blockDepth > maxNesting || chain > maxNesting)
      throw new Error(`it is nested more than ${maxNesting} deep`)
  }
}
