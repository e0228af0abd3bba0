/**
 * Chats of many turns: MT-Bench's questions with two turns (arXiv 2306.05685), among other requests
 * and their answers (arXiv 2212.10560). The second turn follows the first, or comes back to it.
 */

import { join } from 'node:path'
import { defined } from '../../src/base/at.ts'
import { type Engine, ForetokenError, type Message } from '../../src/index.ts'
import { shuffled } from '../lengths.ts'
import { jsonLinesOf } from '../lines.ts'
import { fits } from '../schema.ts'
import {
  answerOf,
  type Case,
  type Draft,
  type Frame,
  frameOf,
  keyOf,
  requireEnough,
  requireLength,
  type Suite,
  type SuiteOptions,
} from './drafts.ts'

const [asked, told] = ['prompts/mt_bench_question.jsonl', 'prompts/user_oriented_instructions.jsonl']

export const turns: Suite = {
  about: 'chats of many turns; the last follows the turn before it, or comes back to the first',
  files: [asked, told],
  drafts,
}

/** Most tokens of the model's own answer to the first turn, and of the one that is judged. */
const most = { first: 96, last: 48 }

/** What the last turn follows: the turn just before it, or the first. */
const places = ['recent', 'first'] as const

/** Tokens after which there is room for one more exchange, with most of the questions. */
const roomForMore = 160

type Exchange = readonly [question: string, answer: string]

interface Talk {
  readonly turns: Exchange
  readonly place: (typeof places)[number]
  readonly others: readonly Exchange[]
}

async function drafts(engine: Engine, options: SuiteOptions): Promise<Draft[]> {
  const { length, cases, seed } = options
  const questions = shuffled(await questionsOf(options), seed)
  requireEnough('turns', 'questions with two turns', questions.length, cases, `${cases} cases`)
  const exchanges = await exchangesOf(options)
  // Other exchanges take at least a quarter, and the model's own answer may be of the longest kind.
  const needs = (turns: Exchange) =>
    Math.ceil((4 / 3) * (engine.promptIds(chatOf([[turns[0], '']], turns[1], 'first')).length + most.first))
  const asking = questions.map((turns) => ({ turns, least: needs(turns) }))
  const short = asking.filter(({ least }) => least <= length)
  if (short.length === 0) requireLength('turns', length, Math.min(...asking.map(({ least }) => least)))
  requireEnough('turns', `questions short enough for ${length} tokens`, short.length, cases, `${cases} cases`)
  return short.slice(0, cases).map(({ turns }, index): Draft => {
    const place = places[index % 2] ?? 'recent'
    const talk: Talk = { turns, place, others: shuffled(exchanges, seed + index) }
    // Too little to fill the chat with shows now, not when the case is made.
    if (!promptOf(engine, talk, '', length)) {
      const has = engine.tokenize(exchanges.flat().join('\n')).length
      requireEnough('turns', 'tokens of other exchanges', has, Math.max(length, has + 1), 'a chat')
    }
    const key = keyOf(engine.tokenize([place, ...turns, ...talk.others.flat()].join('\n')))
    return { group: place, key, make: () => caseOf(engine, talk, length) }
  })
}

async function caseOf(engine: Engine, talk: Talk, length: number): Promise<Case> {
  const opened = engine.promptIds([{ role: 'user', content: talk.turns[0] }])
  const greedy = { prefill: 'exact', temperature: 0, maxTokens: most.first } as const
  const { text } = await engine.submit({ prompt: opened, ...greedy }).result()
  // A text may be more tokens than it was made of; then its beginning has to do.
  let answer = [...text]
  let prompt = promptOf(engine, talk, text, length)
  while (!prompt) {
    if (answer.length === 0) throw new ForetokenError('internal', 'a chat that fitted without an answer')
    answer = answer.slice(0, answer.length >> 1)
    prompt = promptOf(engine, talk, answer.join(''), length)
  }
  return { prompt, continuations: [await answerOf(engine, prompt, { tokens: most.last })], gold: 0 }
}

/**
 * Returns a prompt of exactly `length` tokens, with as many other exchanges as fit; one is cut.
 * Undefined if the chat is too long without them, or too short with all.
 */
function promptOf(
  engine: Engine,
  { turns, place, others }: Talk,
  answer: string,
  length: number,
): number[] | undefined {
  const own: Exchange = [turns[0], answer]
  const told: Exchange[] = []
  const chatWith = (more: readonly Exchange[]) => {
    const exchanges = place === 'first' ? [own, ...told, ...more] : [...told, ...more, own]
    return chatOf(exchanges, turns[1], place)
  }
  for (const [index, [question, said]] of others.entries()) {
    const around = fitting(() => frameOf(engine, (mark) => chatWith([[question, mark]])))
    const room = around ? length - around.before.length - around.after.length : 0
    if (!around || room < 1) continue
    const ids = engine.tokenize(said)
    if (room - ids.length > roomForMore) {
      told.push([question, said])
      continue
    }
    // The last answer goes on with others if it is too short for the rest of the prompt.
    for (const [, more] of others.slice(index + 1)) {
      if (ids.length >= room) break
      for (const id of engine.tokenize(`\n\n${more}`)) ids.push(id)
    }
    if (ids.length >= room) return [...around.before, ...ids.slice(0, room), ...around.after]
  }
  return undefined
}

function chatOf(exchanges: readonly Exchange[], last: string, place: Talk['place']): Message[] {
  const content = place === 'first' ? `Back to what I asked first. ${last}` : last
  return [...exchanges.flatMap(messagesOf), { role: 'user', content }]
}

function messagesOf([question, answer]: Exchange): Message[] {
  return [
    { role: 'user', content: question },
    { role: 'assistant', content: answer },
  ]
}

/** Returns undefined for a chat that is longer than the engine's context. */
function fitting(make: () => Frame): Frame | undefined {
  try {
    return make()
  } catch (error) {
    if (error instanceof ForetokenError && error.code === 'context_exceeded') return undefined
    throw error
  }
}

async function questionsOf({ folder, trainedOn }: SuiteOptions): Promise<Exchange[]> {
  const questions: Exchange[] = []
  for await (const { row, where } of jsonLinesOf(join(folder, asked))) {
    if (!fits(row, { turns: ['string'] }) || row.turns.length < 2)
      throw new ForetokenError('bad_argument', `${where}: not a question with two turns`)
    const [first, second] = [defined(row.turns[0]), defined(row.turns[1])]
    if (!trainedOn?.(`${first} ${second}`)) questions.push([first, second])
  }
  return questions
}

async function exchangesOf({ folder, trainedOn }: SuiteOptions): Promise<Exchange[]> {
  const exchanges: Exchange[] = []
  for await (const { row, where } of jsonLinesOf(join(folder, told))) {
    if (!fits(row, { instruction: 'string', instances: [{ input: 'string', output: 'string' }] }))
      throw new ForetokenError('bad_argument', `${where}: not a request with an answer`)
    const [first] = row.instances
    if (!first || first.output.trim() === '') continue
    const question = first.input === '' ? row.instruction : `${row.instruction}\n\n${first.input}`
    if (!trainedOn?.(`${question} ${first.output}`)) exchanges.push([question, first.output])
  }
  return exchanges
}
