/** Suites that judge predicted caches: prompts of a given length, and what follows them. */

import { defined } from '../../src/base/at.ts'
import { createRandom } from '../../src/decode/random.ts'
import { type Engine, ForetokenError } from '../../src/index.ts'
import { textsOf } from '../datasets.ts'
import { jsonLinesOf } from '../lines.ts'
import { fits } from '../schema.ts'

export interface Case {
  readonly prompt: readonly number[]
  /**
   * Given to the model token by token; after each token all methods are compared. The right one
   * comes first, then wrong ones.
   */
  readonly continuations: readonly (readonly number[])[]
  /** Number of first tokens of the right one that are the answer; 0 if nothing is asked. */
  readonly gold: number
}

export interface SuiteOptions {
  /** Number of tokens of a prompt. */
  readonly length: number
  readonly cases: number
  readonly seed: number
  /** The folder of the sets, with `eval/` and `prompts/` in it. */
  readonly folder: string
}

type Make = (engine: Engine, options: SuiteOptions) => Promise<Case[]>

/** The suites by name. None of these texts may be trained on. */
export const suites: Readonly<Record<string, Make>> = { lm, chat, documents, recall, questions, lambada }

/** Number of tokens after a prompt if nothing is asked. */
const following = 64

/** Running text: wikitext-2's validation split, in windows at even distances. */
async function lm(engine: Engine, { length, cases, folder }: SuiteOptions): Promise<Case[]> {
  const ids = await wikitext(engine, folder, cases * (length + following) * 2)
  const step = Math.floor((ids.length - length - following) / cases)
  return Array.from({ length: cases }, (_, i) => {
    const at = i * step
    const from = at + length
    return { prompt: ids.slice(at, from), continuations: [ids.slice(from, from + following)], gold: 0 }
  })
}

/** People's questions after text of the given length, and the model's own greedy answers. */
async function chat(engine: Engine, { length, cases, seed, folder }: SuiteOptions): Promise<Case[]> {
  const texts = await textsOf(`${folder}/prompts/arena_hard_v0.1.jsonl.gz`)
  const filler = await wikitext(engine, folder, cases * length)
  const next = createRandom(seed)
  const all: Case[] = []
  while (all.length < cases) {
    const text = defined(texts[Math.floor(next() * texts.length)])
    const asked = engine.tokenize(`\n\n${text}`)
    if (asked.length > length / 2) continue
    const prompt = framed(engine, filler.splice(0, length), asked, length)
    const { ids } = await engine.submit({ prompt, maxTokens: 32, ignoreEos: true }).result()
    all.push({ prompt, continuations: [ids], gold: 0 })
  }
  return all
}

/**
 * A BoolQ passage among others, at the front, in the middle or at the end in turn; then its question
 * and the model's own greedy answer.
 */
async function documents(engine: Engine, { length, cases, seed, folder }: SuiteOptions): Promise<Case[]> {
  const rows = await questionsOf(`${folder}/eval/boolq.jsonl.gz`)
  const next = createRandom(seed)
  const pick = () => defined(rows[Math.floor(next() * rows.length)]).query.split('\nQuestion:')
  const others = (count: number) => {
    const ids: number[] = []
    while (ids.length < count) for (const id of engine.tokenize(`${pick()[0]}\n\n`)) ids.push(id)
    return ids.slice(0, count)
  }
  const spare = frameOf(engine).flat().length
  const all: Case[] = []
  let skipped = 0
  while (all.length < cases) {
    const [passage = '', question = ''] = pick()
    const wanted = engine.tokenize(`${passage}\n\n`)
    const asked = engine.tokenize(`Question:${question.replace(/\s*Answer:\s*$/, '')}`)
    const room = length - spare - wanted.length - asked.length
    if (room < length / 3) {
      if (++skipped < rows.length) continue
      throw new ForetokenError(
        'bad_argument',
        `${length} tokens leave no room for other passages; give longer --lengths`,
      )
    }
    const before = Math.floor((room * (all.length % 3)) / 2)
    const prompt = framed(engine, [...others(before), ...wanted, ...others(room - before)], asked, length)
    const { ids } = await engine.submit({ prompt, maxTokens: 32, ignoreEos: true }).result()
    all.push({ prompt, continuations: [ids], gold: 0 })
  }
  return all
}

const names = 'Alice Robert Maria Kevin Susan Peter Laura James Helen David Nancy Frank'.split(' ')

/** Six people's codes before text, and a question about one of them: four digits. */
async function recall(engine: Engine, { length, cases, seed, folder }: SuiteOptions): Promise<Case[]> {
  const filler = await wikitext(engine, folder, cases * length)
  const next = createRandom(seed)
  return Array.from({ length: cases }, () => {
    const people = [...names].sort(() => next() - 0.5).slice(0, 6)
    const codes = people.map(() => String(1000 + Math.floor(next() * 9000)))
    const asked = Math.floor(next() * 6)
    const facts = people.map((name, i) => `The code of ${name} is ${codes[i]}.`).join(' ')
    const before = engine.tokenize(`Here is some information. ${facts}\n\n`)
    const question = engine.tokenize(`\n\nQuestion: What is the code of ${people[asked]}?`)
    const answer = engine.tokenize(`The code of ${people[asked]} is `)
    const prompt = [...framed(engine, [...before, ...filler.splice(0, length)], question, length - answer.length)]
    const digits = engine.tokenize(defined(codes[asked]))
    return {
      prompt: [...prompt, ...answer],
      continuations: [[...digits, ...engine.tokenize('.')]],
      gold: digits.length,
    }
  })
}

interface Question {
  readonly query: string
  readonly choices: readonly string[]
  readonly gold: number
}

/**
 * ARC-easy and PIQA in turn, after other questions of the set with their answers. The likeliest
 * choice per token counts.
 */
async function questions(engine: Engine, { length, cases, seed, folder }: SuiteOptions): Promise<Case[]> {
  const sets = await Promise.all(['arc_easy', 'piqa'].map((name) => questionsOf(`${folder}/eval/${name}.jsonl.gz`)))
  const next = createRandom(seed)
  return Array.from({ length: cases }, (_, index) => {
    const set = defined(sets[index % sets.length])
    const pick = () => defined(set[Math.floor(next() * set.length)])
    const { query, choices, gold } = pick()
    const asked = engine.tokenize(`${query.trim()}\nAnswer:`)
    const prompt = filledUp(asked, length, () => {
      const one = pick()
      return one.query === query ? [] : engine.tokenize(`${one.query.trim()}\nAnswer: ${one.choices[one.gold]}\n\n`)
    })
    const answers = choices.map((choice) => engine.tokenize(` ${choice}`))
    const right = defined(answers[gold])
    return { prompt, continuations: [right, ...answers.filter((one) => one !== right)], gold: right.length }
  })
}

async function questionsOf(path: string): Promise<Question[]> {
  const rows: Question[] = []
  for await (const { row, where } of jsonLinesOf(path)) {
    if (!fits(row, { query: 'string', choices: ['string'], gold: 'number' }))
      throw new ForetokenError('bad_argument', `${where}: not a question with choices`)
    rows.push(row)
  }
  return rows
}

/** LAMBADA's last words, after other passages of it. */
async function lambada(engine: Engine, { length, cases, seed, folder }: SuiteOptions): Promise<Case[]> {
  const texts = await textsOf(`${folder}/eval/lambada_openai.jsonl.gz`)
  const next = createRandom(seed)
  const pick = () => defined(texts[Math.floor(next() * texts.length)])
  return Array.from({ length: cases }, () => {
    const text = pick()
    const cut = text.lastIndexOf(' ')
    const asked = engine.tokenize(text.slice(0, cut))
    const word = engine.tokenize(text.slice(cut))
    const prompt = filledUp(asked, length, () => engine.tokenize(`${pick()}\n\n`))
    return { prompt, continuations: [[...word, ...engine.tokenize('.')]], gold: word.length }
  })
}

/**
 * Returns exactly `length` tokens that end with `asked`, with others before it, cut at the front.
 */
function filledUp(asked: readonly number[], length: number, more: () => readonly number[]): number[] {
  let before: number[] = []
  while (before.length + asked.length < length) before = [...more(), ...before]
  return [...before.slice(before.length + asked.length - length), ...asked]
}

/**
 * Returns a user's message of exactly `length` tokens with its template: `body`, cut if it is too
 * long, then `end`.
 */
function framed(engine: Engine, body: readonly number[], end: readonly number[], length: number): number[] {
  const [before, after] = frameOf(engine)
  const room = length - before.length - after.length - end.length
  if (room < 0 || body.length < room)
    throw new ForetokenError('bad_argument', `${length} tokens leave no room for a question; give longer --lengths`)
  return [...before, ...body.slice(0, room), ...end, ...after]
}

/** Returns what the chat template puts before and after a user's message. */
function frameOf(engine: Engine): [number[], number[]] {
  const mark = engine.promptIds('\uE000')
  const bare = engine.tokenize('\uE000')
  const at = mark.findIndex((_, i) => bare.every((id, j) => mark[i + j] === id))
  if (at < 0) throw new ForetokenError('internal', 'the chat template hides what a user says')
  return [mark.slice(0, at), mark.slice(at + bare.length)]
}

async function wikitext(engine: Engine, folder: string, least: number): Promise<number[]> {
  const ids: number[] = []
  for (const text of await textsOf(`${folder}/eval/wikitext2_valid.txt.gz`)) {
    for (const id of engine.tokenize(`${text}\n`)) ids.push(id)
    if (ids.length > least) break
  }
  if (ids.length < least / 2)
    throw new ForetokenError('bad_argument', `wikitext has no ${least} tokens; give fewer --cases`)
  return ids
}
