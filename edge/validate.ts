/** Checks a request body against its schema and reports the field at fault. */
import type { z } from '@hono/zod-openapi'
import { ApiError } from './errors.ts'
import { notHere } from './schemas/common.ts'

type Issue = z.core.$ZodIssue

/** Stops at the first fault; by default Zod collects a fault for every element of a list. */
const toFirstFault: z.core.ParseContext<Issue> & { readonly abortEarly: true } = { abortEarly: true }

/** Returns the validated body. Throws an ApiError of 400 that names the first field at fault. */
export function validate<S extends z.ZodType>(schema: S, body: unknown): z.output<S> {
  const { success, data, error } = schema.safeParse(body, toFirstFault)
  if (success) return data
  const { path, issue } = nearest(error.issues[0]!, [])
  if (issue.code === 'unrecognized_keys') throw unknownField(pathText([...path, issue.keys[0]!]))
  const param = pathText(path)
  if (issue.message.startsWith(notHere))
    throw new ApiError(400, `${param} is ${issue.message}`, { code: 'unsupported_value', param })
  throw new ApiError(400, `${param || 'the body'}: ${messageOf(issue)}`, {
    code: 'invalid_value',
    param: param || undefined,
  })
}

/** Returns what is wrong. Zod's message of a value that fits no branch of a union names none of them. */
function messageOf(issue: Issue): string {
  if (/^Too (small|big)/.test(issue.message)) return boundOf(issue) ?? issue.message
  if (issue.code !== 'invalid_union' || issue.message !== 'Invalid input') return issue.message
  const branches = issue.errors.flatMap(([first]) => (first && first.path.length === 0 ? expectedBy(first) : []))
  return branches.length === 0 ? issue.message : `must be ${[...new Set(branches)].join(' or ')}`
}

/** Returns the bound that a value is beyond, in words. */
function boundOf(issue: Issue): string | undefined {
  if (issue.code !== 'too_small' && issue.code !== 'too_big') return undefined
  const [bound, side] = issue.code === 'too_small' ? [issue.minimum, 'at least'] : [issue.maximum, 'at most']
  if (issue.inclusive === false) return undefined
  const units = bound === 1 ? '' : 's'
  if (issue.origin === 'array') return `must have ${side} ${bound} element${units}`
  if (issue.origin === 'string') return `must have ${side} ${bound} character${units}`
  return `must be ${side} ${bound}`
}

function expectedBy(issue: Issue): string[] {
  if (issue.code === 'invalid_value') return issue.values.map((value) => JSON.stringify(value))
  if (issue.code === 'invalid_union') return issue.errors.flatMap(([first]) => (first ? expectedBy(first) : []))
  if (issue.code !== 'invalid_type') return []
  const { expected } = issue
  return [expected === 'array' ? 'a list' : `${/^[aeiou]/.test(expected) ? 'an' : 'a'} ${expected}`]
}

/** Returns the refusal of an unknown field, named by its path. */
export function unknownField(path: string): ApiError {
  const param = cut(path)
  return new ApiError(400, `${param} is not supported by this server; leave it out`, {
    code: 'unsupported_parameter',
    param,
  })
}

/** Picks, among the branches of a union, the fault with the longest path: that branch fits best. */
function nearest(issue: Issue, before: readonly PropertyKey[]): { path: readonly PropertyKey[]; issue: Issue } {
  const path = [...before, ...issue.path]
  if (issue.code !== 'invalid_union') return { path, issue }
  const branches = issue.errors.flatMap(([first]) => (first ? [nearest(first, path)] : []))
  const furthest = branches.reduce<(typeof branches)[number] | undefined>(
    (best, branch) => (best && best.path.length >= branch.path.length ? best : branch),
    undefined,
  )
  return furthest && furthest.path.length > path.length ? furthest : { path, issue }
}

/**
 * Formats a path as OpenAI does, such as `messages[0].content`, and truncates it, since it contains
 * names from the client.
 */
function pathText(path: readonly PropertyKey[]): string {
  const text = path
    .map((part, index) => (typeof part === 'number' ? `[${part}]` : index === 0 ? String(part) : `.${String(part)}`))
    .join('')
  return cut(text)
}

function cut(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}…` : text
}
