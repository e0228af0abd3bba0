/** Reads nodes of a parsed template, and evaluates what does not depend on a scope. */
import type { Node } from './parse.ts'
import type { Value } from './value.ts'

const statements = new Set([
  'Set',
  'If',
  'For',
  'Macro',
  'CallStatement',
  'FilterStatement',
  'Break',
  'Continue',
  'Comment',
])

/** Returns whether a node is a statement rather than an expression. */
export const isStatement = ({ type }: Node) => statements.has(type)

/** Returns a field of a node that the parser fills with a list of nodes. */
export const nodes = (list: unknown) => list as readonly Node[]

/** Returns an operator's text. */
export const operatorOf = (node: Node) => (node.operator as { value: string }).value

/** Returns an identifier's name. Throws an Error for another node. */
export function nameOf(node: unknown): string {
  const { type, value } = node as Node
  if (type !== 'Identifier') throw new Error(`a name is expected, not ${type}`)
  return value as string
}

/** Arithmetic as in Python. */
export const numeric: Readonly<Record<string, (a: number, b: number) => number>> = {
  '+': (a, b) => a + b,
  '-': (a, b) => a - b,
  '*': (a, b) => a * b,
  '/': (a, b) => a / b,
  '//': (a, b) => Math.floor(a / b),
  '%': (a, b) => a - b * Math.floor(a / b),
  '**': (a, b) => a ** b,
}

/** Slices a list as Python does. */
export function sliceOf(
  items: readonly Value[],
  start: number | undefined,
  stop: number | undefined,
  step: number,
): Value[] {
  if (step === 0) throw new Error('a slice by steps of 0')
  const { length } = items
  const clamp = (at: number, low: number, high: number) => Math.min(high, Math.max(low, at < 0 ? at + length : at))
  const [low, high] = step > 0 ? [0, length] : [-1, length - 1]
  const from = start === undefined ? (step > 0 ? 0 : length - 1) : clamp(start, low, high)
  const to = stop === undefined ? (step > 0 ? length : -1) : clamp(stop, low, high)
  const sliced: Value[] = []
  for (let at = from; step > 0 ? at < to : at > to; at += step) sliced.push(items[at])
  return sliced
}
