/** Suites that judge predicted caches: prompts of a given length, and what follows them. */

import { join } from 'node:path'
import { defined } from '../../src/base/at.ts'
import { createRandom } from '../../src/decode/random.ts'
import { type Engine, ForetokenError } from '../../src/index.ts'
import { textsOf } from '../datasets.ts'
import { jsonLinesOf } from '../lines.ts'
import { fits } from '../schema.ts'
import { code } from './code.ts'
import { documents } from './documents.ts'
import {
  answered,
  complete,
  type Draft,
  filledUp,
  framed,
  frameOf,
  requireEnough,
  requireLength,
  requireTokens,
  type Suite,
  type SuiteOptions,
} from './drafts.ts'
import { turns } from './turns.ts'

const wikitextFile = 'eval/wikitext2_valid.txt.gz'
const arenaFile = 'prompts/arena_hard_v0.1.jsonl.gz'
const lambadaFile = 'eval/lambada_openai.jsonl.gz'
const questionFiles = ['eval/arc_easy.jsonl.gz', 'eval/piqa.jsonl.gz']

/** The suites by name, the most usual work first. None of these texts may be trained on. */
export const suites: Readonly<Record<string, Suite>> = {
  documents,
  code,
  turns,
  lm: { about: 'running text of wikitext-2', files: [wikitextFile], drafts: lm },
  chat: {
    about: 'requests of arena-hard after running text',
    files: [wikitextFile, arenaFile],
    drafts: chat,
  },
  recall: { about: 'four digits to recall from the front, across running text', files: [wikitextFile], drafts: recall },
  questions: {
    about: 'short questions of ARC-easy and PIQA, after others that have nothing to do with them',
    files: questionFiles,
    drafts: questions,
  },
  lambada: { about: 'last words of LAMBADA, after other passages', files: [lambadaFile], drafts: lambada },
}

/** Number of tokens after a prompt if nothing is asked. */
const following = 64

/** Running text: wikitext-2's validation split, in windows at even distances. */
async function lm(engine: Engine, { length, cases, ...options }: SuiteOptions): Promise<Draft[]> {
  const needs = cases * (length + following)
  // Twice as much spreads the windows over more articles.
  const ids = await wikitext(engine, options, 2 * needs)
  requireTokens('lm', ids.length, needs, `${cases} cases of ${length}`)
  const step = Math.floor((ids.length - length - following) / Math.max(1, cases - 1))
  return Array.from({ length: cases }, (_, i) => {
    const from = i * step + length
    return complete({
      prompt: ids.slice(i * step, from),
      continuations: [ids.slice(from, from + following)],
      gold: 0,
    })
  })
}

/** People's questions after text of the given length, and the model's own greedy answers. */
async function chat(engine: Engine, { length, cases, seed, ...options }: SuiteOptions): Promise<Draft[]> {
  const texts = await judgedTexts(arenaFile, options)
  const filler = await fillerOf('chat', engine, options, { length, cases })
  const next = createRandom(seed)
  const asking = texts.map((text) => engine.tokenize(`\n\n${text}`)).filter((asked) => asked.length <= length / 2)
  requireEnough('chat', `requests short enough for ${length} tokens`, asking.length, 1, 'a case')
  return Array.from({ length: cases }, () => {
    const asked = defined(asking[Math.floor(next() * asking.length)])
    const prompt = framed(engine, 'chat', filler.splice(0, length), asked, length)
    return answered(engine, prompt, { tokens: 32, ignoreEos: true })
  })
}

const names = 'Alice Robert Maria Kevin Susan Peter Laura James Helen David Nancy Frank'.split(' ')

/** Six people's codes before text, and a question about one of them: four digits. */
async function recall(engine: Engine, { length, cases, seed, ...options }: SuiteOptions): Promise<Draft[]> {
  const filler = await fillerOf('recall', engine, options, { length, cases })
  const next = createRandom(seed)
  return Array.from({ length: cases }, () => {
    const people = [...names].sort(() => next() - 0.5).slice(0, 6)
    const codes = people.map(() => String(1000 + Math.floor(next() * 9000)))
    const asked = Math.floor(next() * 6)
    const facts = people.map((name, i) => `The code of ${name} is ${codes[i]}.`).join(' ')
    const before = engine.tokenize(`Here is some information. ${facts}\n\n`)
    const question = engine.tokenize(`\n\nQuestion: What is the code of ${people[asked]}?`)
    const answer = engine.tokenize(`The code of ${people[asked]} is `)
    const { before: front, after } = frameOf(engine, (content) => [{ role: 'user', content }])
    const around = [front, before, question, after, answer].reduce((sum, { length }) => sum + length, 0)
    requireLength('recall', length, around)
    const body = [...before, ...filler.splice(0, length - around)]
    const digits = engine.tokenize(defined(codes[asked]))
    return complete({
      prompt: [...front, ...body, ...question, ...after, ...answer],
      continuations: [[...digits, ...engine.tokenize('.')]],
      gold: digits.length,
    })
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
async function questions(engine: Engine, { length, cases, seed, ...options }: SuiteOptions): Promise<Draft[]> {
  const sets = await Promise.all(questionFiles.map((name) => questionsOf(name, options)))
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
    return complete({
      prompt,
      continuations: [right, ...answers.filter((one) => one !== right)],
      gold: right.length,
    })
  })
}

async function questionsOf(name: string, { folder, trainedOn }: Sources): Promise<Question[]> {
  const rows: Question[] = []
  for await (const { row, where } of jsonLinesOf(join(folder, name))) {
    if (!fits(row, { query: 'string', choices: ['string'], gold: 'number' }))
      throw new ForetokenError('bad_argument', `${where}: not a question with choices`)
    if (!trainedOn?.(row.query)) rows.push(row)
  }
  requireEnough('questions', `questions in ${name}`, rows.length, 2, 'cases')
  return rows
}

/** LAMBADA's last words, after other passages of it. */
async function lambada(engine: Engine, { length, cases, seed, ...options }: SuiteOptions): Promise<Draft[]> {
  const texts = await judgedTexts(lambadaFile, options)
  requireEnough('lambada', 'passages', texts.length, 2, 'cases')
  const next = createRandom(seed)
  const pick = () => defined(texts[Math.floor(next() * texts.length)])
  return Array.from({ length: cases }, () => {
    const text = pick()
    const cut = text.lastIndexOf(' ')
    const asked = engine.tokenize(text.slice(0, cut))
    const word = engine.tokenize(text.slice(cut))
    const prompt = filledUp(asked, length, () => engine.tokenize(`${pick()}\n\n`))
    return complete({ prompt, continuations: [[...word, ...engine.tokenize('.')]], gold: word.length })
  })
}

type Sources = Pick<SuiteOptions, 'folder' | 'trainedOn'>

/** Returns the texts of a set that were not trained on. */
async function judgedTexts(name: string, { folder, trainedOn }: Sources): Promise<string[]> {
  return (await textsOf(join(folder, name))).filter((text) => !trainedOn?.(text))
}

/** Returns running text for the prompts of `cases`, each of `length` tokens. */
async function fillerOf(
  suite: string,
  engine: Engine,
  sources: Sources,
  { length, cases }: Pick<SuiteOptions, 'length' | 'cases'>,
): Promise<number[]> {
  const ids = await wikitext(engine, sources, cases * length)
  requireTokens(suite, ids.length, cases * length, `${cases} cases of ${length}`)
  return ids
}

/** Returns at least `least` tokens of running text, or all that there are. */
async function wikitext(engine: Engine, sources: Sources, least: number): Promise<number[]> {
  const ids: number[] = []
  for (const text of await judgedTexts(wikitextFile, sources)) {
    for (const id of engine.tokenize(`${text}\n`)) ids.push(id)
    if (ids.length > least) break
  }
  return ids
}
