/** What the suites share: cases that are made when they are judged, and prompts of exact lengths. */

import { defined } from '../../src/base/at.ts'
import type { TokenRange } from '../../src/base/prompt.ts'
import { type Engine, ForetokenError, type Message } from '../../src/index.ts'

export interface Case {
  readonly prompt: readonly number[]
  /**
   * Given to the model token by token; after each token all methods are compared. The right one
   * comes first, then wrong ones.
   */
  readonly continuations: readonly (readonly number[])[]
  /** Number of first tokens of the right one that are the answer; 0 if nothing is asked. */
  readonly gold: number
  /** The parts of the prompt that could come again in another one, in order; absent if there are none. */
  readonly chunks?: readonly TokenRange[]
}

/** A case whose answer, or other parts, the exact model has yet to write. */
export interface Draft {
  /** A part of the suite that is also averaged on its own, such as where the asked passage stands. */
  readonly group?: string
  /** Tells this case from others, for scores that are kept between runs. */
  readonly key: number
  make(): Promise<Case>
}

export interface SuiteOptions {
  /** Number of tokens of a prompt. */
  readonly length: number
  readonly cases: number
  readonly seed: number
  /** The folder of the sets, with `eval/` and `prompts/` in it. */
  readonly folder: string
  /** Returns true for a text that was trained on; it is left out. Default: none is. */
  readonly trainedOn?: (text: string) => boolean
}

export interface Suite {
  /** What its prompts are, for people. */
  readonly about: string
  /** The files that it reads, in the data folder. */
  readonly files: readonly string[]
  /**
   * Makes the same drafts for the same options and files. Throws `not_found`, and `bad_argument` for
   * a length that leaves no room and for too little data, with the missing number.
   */
  drafts(engine: Engine, options: SuiteOptions): Promise<Draft[]>
}

/** Returns the draft of a case that is complete. */
export function complete(one: Case): Draft {
  return { key: keyOf(one.prompt), make: async () => one }
}

/** Returns the draft of a prompt that the exact model answers, greedily. */
export function answered(
  engine: Engine,
  prompt: readonly number[],
  how: {
    readonly tokens: number
    readonly ignoreEos?: boolean
    readonly group?: string
    readonly chunks?: readonly TokenRange[]
  },
): Draft {
  const { group, chunks } = how
  const make = async () => ({
    prompt,
    continuations: [await answerOf(engine, prompt, how)],
    gold: 0,
    ...(chunks && { chunks }),
  })
  return { ...(group !== undefined && { group }), key: keyOf(prompt), make }
}

/**
 * Returns the exact model's greedy answer, of at least one and at most `tokens` tokens. It ends with
 * the model's end unless `ignoreEos`.
 */
export async function answerOf(
  engine: Engine,
  prompt: readonly number[],
  { tokens, ignoreEos = false }: { readonly tokens: number; readonly ignoreEos?: boolean },
): Promise<number[]> {
  const greedy = { prompt, prefill: 'exact', temperature: 0 } as const
  const { ids } = await engine.submit({ ...greedy, maxTokens: tokens, ignoreEos }).result()
  if (ids.length > 0) return [...ids]
  // The model ends at once, and this end is the answer.
  return [...(await engine.submit({ ...greedy, maxTokens: 1, ignoreEos: true }).result()).ids]
}

/** Returns a number of 53 bits that other ids hardly share. */
export function keyOf(ids: readonly number[]): number {
  let [a, b] = [0x811c9dc5, 0x9dc5811c]
  for (const id of ids) {
    a = Math.imul(a ^ id, 0x01000193)
    b = Math.imul(b + id, 0x85ebca6b) ^ (b >>> 13)
  }
  return (a >>> 0) * 2 ** 21 + (b >>> 11)
}

export interface Frame {
  readonly before: readonly number[]
  readonly after: readonly number[]
}

/** A character of Unicode's private use area, which no text has. */
const mark = '\uE000'

/** Returns the tokens before and after the place of `mark` in the conversation that `messages` makes. */
export function frameOf(engine: Engine, messages: (mark: string) => readonly Message[]): Frame {
  const ids = engine.promptIds(messages(mark))
  const bare = engine.tokenize(mark)
  const at = ids.findIndex((_, i) => bare.every((id, j) => ids[i + j] === id))
  if (at < 0) throw new ForetokenError('internal', 'the chat template hides what a message says')
  return { before: ids.slice(0, at), after: ids.slice(at + bare.length) }
}

/**
 * Returns a user's message of exactly `length` tokens with its template: `body`, cut if it is too
 * long, then `end`.
 */
export function framed(
  engine: Engine,
  suite: string,
  body: readonly number[],
  end: readonly number[],
  length: number,
): number[] {
  const { before, after } = frameOf(engine, (content) => [{ role: 'user', content }])
  const taken = before.length + after.length + end.length
  requireLength(suite, length, taken)
  const room = length - taken
  requireTokens(suite, body.length, room, `a prompt of ${length} tokens`)
  return [...before, ...body.slice(0, room), ...end, ...after]
}

/** Throws `bad_argument` for prompts that are too short for what they must hold. */
export function requireLength(suite: string, length: number, least: number): void {
  if (length >= least) return
  throw new ForetokenError(
    'bad_argument',
    `prompts of ${count(length)} tokens are too short for the suite ${suite}, which needs ${count(least)} with this model; give longer --lengths`,
  )
}

/** Throws `bad_argument` for a set with fewer tokens than are needed. */
export function requireTokens(suite: string, has: number, needs: number, what: string): void {
  requireEnough(suite, 'tokens', has, needs, what)
}

/** Throws `bad_argument` for a set with fewer `things` than are needed, with the missing number. */
export function requireEnough(suite: string, things: string, has: number, needs: number, what: string): void {
  if (has >= needs) return
  throw new ForetokenError(
    'bad_argument',
    `the suite ${suite} has ${count(has)} ${things}, and ${what} need${/^a /.test(what) ? 's' : ''} ${count(needs)}: ${count(needs - has)} are missing; give fewer --cases or shorter --lengths, or more data`,
  )
}

function count(n: number): string {
  return n.toLocaleString('en')
}

/**
 * Returns exactly `length` tokens that end with `asked`, with others before it, cut at the front.
 */
export function filledUp(asked: readonly number[], length: number, more: () => readonly number[]): number[] {
  const parts: (readonly number[])[] = [asked]
  for (let filled = asked.length; filled < length; filled += defined(parts.at(-1)).length) parts.push(more())
  return parts.reverse().flat().slice(-length)
}
