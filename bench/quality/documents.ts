/** Documents with a question about one of them: BoolQ's passages (arXiv 1905.10044). */

import { join } from 'node:path'
import { at } from '../../src/base/at.ts'
import { createRandom } from '../../src/decode/random.ts'
import { type Engine, ForetokenError } from '../../src/index.ts'
import { shuffled } from '../lengths.ts'
import { jsonLinesOf } from '../lines.ts'
import { fits } from '../schema.ts'
import { answered, frameOf, requireEnough, requireLength, type Suite, type SuiteOptions } from './drafts.ts'

const file = 'eval/boolq.jsonl.gz'

export const documents: Suite = {
  about: 'passages of BoolQ, and a question about the first, the middle or the last of them',
  files: [file],
  drafts,
}

/** Where the passage that is asked about stands. */
const places = ['front', 'middle', 'end'] as const

const opening = 'Read these documents.'

interface Passage {
  readonly text: string
  readonly question: string
}

async function drafts(engine: Engine, options: SuiteOptions) {
  const { length, cases, seed } = options
  const rows = shuffled(await passagesOf(options), seed)
  requireEnough('documents', 'passages', rows.length, cases, `${cases} cases`)
  const { before, after } = frameOf(engine, (content) => [{ role: 'user', content }])
  const first = engine.tokenize(opening)
  const around = before.length + first.length + after.length
  let shortest = Infinity
  const askable: { readonly row: Passage; readonly asked: number[]; readonly question: number[] }[] = []
  for (const row of rows) {
    if (askable.length === cases) break
    const asked = engine.tokenize(documentText(row))
    const question = engine.tokenize(`\n\nQuestion: ${row.question}\nAnswer yes or no, and give the reason.`)
    // At least as many tokens again are of other passages.
    const needs = around + question.length + 2 * asked.length
    shortest = Math.min(shortest, needs)
    if (needs <= length) askable.push({ row, asked, question })
  }
  if (askable.length === 0) requireLength('documents', length, shortest)
  requireEnough('documents', `passages short enough for ${length} tokens`, askable.length, cases, `${cases} cases`)
  return askable.map(({ row, asked, question }, index) => {
    const place = at(places, index % places.length)
    const room = length - around - question.length - asked.length
    const front = place === 'front' ? 0 : place === 'end' ? room : room >> 1
    const others = otherPassages(engine, rows, row, room, seed + index)
    const parts = [...cutAt(others, front), asked, ...cutAt(others, front, 'behind')]
    const prompt = [...before, ...first, ...parts.flat(), ...question, ...after]
    let from = before.length + first.length
    const chunks = parts.map(({ length }) => ({ from, to: (from += length) }))
    return answered(engine, prompt, { tokens: 48, group: place, chunks })
  })
}

/** Returns what is before, or behind, the first `front` tokens of passages; one of them may be cut. */
function cutAt(passages: readonly (readonly number[])[], front: number, side: 'before' | 'behind' = 'before') {
  let at = 0
  return passages.flatMap((ids) => {
    const cut = Math.min(Math.max(0, front - at), ids.length)
    at += ids.length
    const part = side === 'before' ? ids.slice(0, cut) : ids.slice(cut)
    return part.length === 0 ? [] : [part]
  })
}

/** Returns other passages in random order, of exactly `room` tokens together, the last one cut. */
function otherPassages(
  engine: Engine,
  rows: readonly Passage[],
  asked: Passage,
  room: number,
  seed: number,
): readonly (readonly number[])[] {
  const next = createRandom(seed)
  const left = rows.filter(({ text }) => text !== asked.text)
  const passages: number[][] = []
  let filled = 0
  while (filled < room) {
    const [row] = left.splice(Math.floor(next() * left.length), 1)
    if (!row) requireEnough('documents', 'tokens in other passages', filled, room, 'a prompt')
    else {
      const ids = engine.tokenize(documentText(row)).slice(0, room - filled)
      passages.push(ids)
      filled += ids.length
    }
  }
  return passages
}

function documentText({ text }: Passage): string {
  return `\n\nDocument: ${text}`
}

async function passagesOf({ folder, trainedOn }: SuiteOptions): Promise<Passage[]> {
  const passages: Passage[] = []
  for await (const { row, where } of jsonLinesOf(join(folder, file))) {
    const [, text, question] =
      (fits(row, { query: 'string' }) && /^Passage: (.+)\nQuestion: (.+)$/s.exec(row.query)) || []
    if (text === undefined || question === undefined)
      throw new ForetokenError('bad_argument', `${where}: its query is not a passage and a question`)
    if (!trainedOn?.(`${text} ${question}`)) passages.push({ text, question })
  }
  return passages
}
