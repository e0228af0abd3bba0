/** Texts or token ids, as embeddings and completions take them. */
import { ApiError } from '../errors.ts'
import { z } from './common.ts'

/** A text, several, or the token ids of one or of several. */
export type Inputs = string | string[] | number[] | number[][]

/** Says what is wrong with inputs, and at which index. */
interface Fault {
  readonly path: number[]
  readonly message: string
}

const kinds = 'a text, a list of texts, a list of token ids, or a list of such lists'

/**
 * Returns the schema of texts or token ids. They are checked as one value: Zod's check of each element
 * would take longer than the prefill of a long prompt, and the branches of a union would call wrong ids
 * wrong texts.
 */
export function textsOrIds(most = Number.POSITIVE_INFINITY, description?: string) {
  const text = { type: 'string', minLength: 1 } as const
  const ids = { type: 'array', items: { type: 'integer', minimum: 0 }, minItems: 1 } as const
  const few = { minItems: 1, ...(Number.isFinite(most) && { maxItems: most }) }
  return z
    .custom<Inputs>()
    .superRefine((value, c) => {
      const fault = faultOf(value, most)
      if (fault) c.addIssue({ code: 'custom', ...fault })
    })
    .openapi({
      ...(description !== undefined && { description }),
      type: ['string', 'array'],
      anyOf: [text, { type: 'array', items: text, ...few }, ids, { type: 'array', items: ids, ...few }],
    })
}

/** Returns the inputs one by one. */
export function inputsOf(value: Inputs): readonly (string | readonly number[])[] {
  if (typeof value === 'string') return [value]
  return typeof value[0] === 'number' ? [value as number[]] : (value as (string | number[])[])
}

/** Throws an ApiError of 400 for the first token id that a vocabulary of `vocab` tokens does not have. */
export function requireIds(field: string, value: Inputs, vocab: number): void {
  for (const [index, ids] of inputsOf(value).entries()) {
    const wrong = typeof ids === 'string' ? -1 : ids.findIndex((id) => id >= vocab)
    if (wrong < 0) continue
    const param = typeof value[0] === 'number' ? `${field}[${wrong}]` : `${field}[${index}][${wrong}]`
    throw new ApiError(400, `${param}: ${ids[wrong]} is not a token id of the vocabulary 0..${vocab - 1}`, {
      code: 'invalid_value',
      param,
    })
  }
}

function faultOf(value: unknown, most: number): Fault | undefined {
  if (typeof value === 'string') return faultOfText(value, [])
  if (!Array.isArray(value)) return { path: [], message: `must be ${kinds}` }
  const [first] = value as unknown[]
  if (typeof first === 'number') return faultOfIds(value, [])
  if (value.length === 0) return { path: [], message: `is an empty list; it must be ${kinds}` }
  if (value.length > most)
    return { path: [], message: `has ${value.length} prompts; at most ${most} are taken at once` }
  const ids = Array.isArray(first)
  for (const [index, one] of (value as unknown[]).entries()) {
    const fault =
      ids && Array.isArray(one)
        ? faultOfIds(one, [index])
        : !ids && typeof one === 'string'
          ? faultOfText(one, [index])
          : { path: [index], message: oddOne(one, index, ids) }
    if (fault) return fault
  }
  return undefined
}

function faultOfText(text: string, path: number[]): Fault | undefined {
  return text === '' ? { path, message: 'is an empty text; it must have at least 1 character' } : undefined
}

function faultOfIds(ids: readonly unknown[], path: number[]): Fault | undefined {
  if (ids.length === 0) return { path, message: 'is an empty list of token ids; it must have at least 1' }
  const wrong = ids.findIndex((id) => !Number.isInteger(id) || (id as number) < 0)
  if (wrong < 0) return undefined
  return { path: [...path, wrong], message: `${shown(ids[wrong])} is not a token id, a whole number from 0` }
}

/** Says what is wrong with an input that is not of the kind of the first. */
function oddOne(one: unknown, index: number, ids: boolean): string {
  if (index > 0 && (typeof one === 'string' || Array.isArray(one)))
    return `is ${ids ? 'a text among lists of token ids' : 'a list of token ids among texts'}; send them in separate requests`
  return `${shown(one)} is neither a text nor a list of token ids`
}

function shown(value: unknown): string {
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'an object'
  const text = JSON.stringify(value)
  return text.length > 40 ? `${text.slice(0, 40)}…` : text
}
