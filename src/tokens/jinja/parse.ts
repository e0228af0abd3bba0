/**
 * Parses a chat template into a tree with `@huggingface/jinja`. Only its parser is used;
 * `evaluate.ts` evaluates the tree.
 */
import { parse, tokenize } from '@huggingface/jinja'
import { isObject } from '../../model/json.ts'

/** A statement or an expression; its other fields depend on its type. */
export interface Node {
  readonly type: string
  readonly value?: unknown
  readonly [field: string]: unknown
}

/** A parsed template. */
export interface Program extends Node {
  readonly body: readonly Node[]
}

/** Most characters of a template. The longest published ones have about 50,000. */
export const maxTemplate = 1 << 18
/**
 * Longest run of white space: the package's regular expression for `generation` blocks takes
 * quadratic time in it.
 */
const maxSpace = 1 << 10
/** Most levels of nested brackets, and of nested statements. */
const maxNesting = 100

/**
 * Parses a template. Throws an Error if it is invalid, or so long or deep that no one would write
 * it.
 */
export function parseTemplate(source: string): Program {
  if (source.length > maxTemplate)
    throw new Error(`it has ${source.length} characters; at most ${maxTemplate} are read`)
  if (new RegExp(`\\s{${maxSpace + 1}}`).test(source))
    throw new Error(`it has more than ${maxSpace} spaces or line ends in a row`)
  const tokens = tokenize(source, { lstrip_blocks: true, trim_blocks: true })
  checkNesting(tokens)
  const program: unknown = parse(tokens)
  if (!isProgram(program)) throw new Error('the parser returned no program')
  return program
}

function isProgram(value: unknown): value is Program {
  return isNode(value) && Array.isArray(value.body) && value.body.every(isNode)
}

function isNode(value: unknown): value is Node {
  return isObject(value) && typeof value.type === 'string'
}

const opening = new Set(['OpenParen', 'OpenSquareBracket', 'OpenCurlyBracket'])
const closing = new Set(['CloseParen', 'CloseSquareBracket', 'CloseCurlyBracket'])
const blocks = new Set(['if', 'for', 'macro', 'call', 'filter'])

/**
 * Limits the parser's recursion, which goes deeper with each bracket, block, sign, `not`, `elif`
 * and `else`.
 */
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
