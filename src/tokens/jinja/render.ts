/** Renders a parsed template. */

import type { Origin } from '../origin.ts'
import { Budget, type Limits } from './budget.ts'
import { evaluateTemplate } from './evaluate.ts'
import { globalsOf } from './globals.ts'
import type { Program } from './parse.ts'
import type { Key, Value } from './value.ts'
import { Values } from './values.ts'

/** An input of a template: text of the model's own or marked text, and lists and dicts of these. */
export type TemplateInput =
  | string
  | number
  | boolean
  | null
  | readonly TemplateInput[]
  | { readonly [key: string]: TemplateInput | undefined }
  | ReadonlyMap<string, TemplateInput>

/**
 * Returns the marked text that the template makes of `names`. Throws `Refused`, `OverBudget`, and
 * an Error for anything that fails.
 */
export function renderTemplate(
  program: Program,
  names: Readonly<Record<string, TemplateInput | undefined>>,
  { origin, limits }: { readonly origin: Origin; readonly limits: Limits },
): string {
  const values = new Values(origin, new Budget(limits))
  const globals = new Map<string, Value>(globalsOf(values))
  for (const [name, input] of Object.entries(names)) if (input !== undefined) globals.set(name, toValue(input))
  return evaluateTemplate(values, program, globals)
}

function toValue(input: TemplateInput): Value {
  if (Array.isArray(input)) return input.map(toValue)
  if (typeof input !== 'object' || input === null) return input
  const entries = input instanceof Map ? [...input] : Object.entries(input).filter(([, value]) => value !== undefined)
  return new Map(entries.map(([key, value]): [Key, Value] => [key, toValue(value)]))
}
