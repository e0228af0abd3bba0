/** Texts to fit from, as token ids: running text as it is, questions with their answers as chats. */

import { createReadStream } from 'node:fs'
import { createGunzip } from 'node:zlib'
import { shuffled } from '../../bench/lengths.ts'
import { jsonLine, jsonLinesOf, linesOf } from '../../bench/lines.ts'
import { type Engine, ForetokenError, fileError, type Message } from '../../node/index.ts'
import { createRandom } from '../../src/decode/random.ts'
import { decodeText } from '../text.ts'

/** Rows of a file that are kept, drawn evenly: so that memory does not grow with the file. */
const mostRows = 20_000

/** A piece of text as the model is to read it. */
export type Document = string | readonly Message[]

export interface DocumentSets {
  /** To fit from, one list for each file. */
  readonly training: readonly (readonly Document[])[]
  /** Every twentieth row, kept back to judge by. */
  readonly heldOut: readonly (readonly Document[])[]
}

/** Reads JSON lines, JSON arrays or plain text, gzipped or not; stdin, `-`, holds JSON lines. Throws `not_found`, `io`, `bad_argument`. */
export async function readDocuments(paths: readonly string[], seed: number): Promise<DocumentSets> {
  const training: Document[][] = []
  const heldOut: Document[][] = []
  for (const path of paths) {
    const all = await sampled(rowsOf(path), seed)
    if (all.length === 0) throw new ForetokenError('bad_argument', `${path} holds no text to fit from`)
    heldOut.push(all.filter((_, index) => index % 20 === 0))
    training.push(all.filter((_, index) => index % 20 !== 0))
  }
  return { training, heldOut }
}

/**
 * Documents of at most `most` tokens, without end: a file in turn, a row of it drawn, and of a longer one a stretch. A row that
 * is too short to hold anything to predict is filled up with the next of its file.
 */
export async function* documentIds(
  engine: Pick<Engine, 'tokenize' | 'promptIds'>,
  sets: readonly (readonly Document[])[],
  { seed, most }: { seed: number; most: number },
): AsyncGenerator<number[]> {
  const next = createRandom(seed)
  const draw = (below: number) => Math.floor(next() * below)
  for (let turn = 0; ; turn++) {
    const rows = sets[turn % sets.length]!
    const ids: number[] = []
    // From short to long: positions and attention are not the same at 64 tokens and at 1,024.
    const length = Math.min(most, 64 + draw(Math.max(1, most - 64)))
    while (ids.length < length) {
      const row = rows[draw(rows.length)]!
      const all = idsOf(engine, row)
      const from = typeof row === 'string' && all.length > length ? draw(all.length - length) : 0
      for (const id of all.slice(from, from + length - ids.length)) ids.push(id)
    }
    yield ids
  }
}

/** At least one id: rows without text were left out. */
function idsOf(engine: Pick<Engine, 'tokenize' | 'promptIds'>, row: Document): number[] {
  if (typeof row === 'string') return engine.tokenize(row)
  try {
    return engine.promptIds(row)
  } catch (error) {
    // A model without a chat template, a conversation longer than its context: the text is as good.
    if (!(error instanceof ForetokenError)) throw error
    return engine.tokenize(row.map(({ content }) => content).join('\n\n'))
  }
}

/** Rows drawn evenly from a stream of any length (Vitter's algorithm R), in an order of their own. */
async function sampled(rows: AsyncIterable<Document>, seed: number): Promise<Document[]> {
  const next = createRandom(seed)
  const kept: Document[] = []
  let seen = 0
  for await (const row of rows) {
    if (typeof row === 'string' ? row.trim() === '' : row.every(({ content }) => content.trim() === '')) continue
    seen++
    if (kept.length < mostRows) kept.push(row)
    else {
      const place = Math.floor(next() * seen)
      if (place < mostRows) kept[place] = row
    }
  }
  return shuffled(kept, seed)
}

async function* rowsOf(path: string): AsyncGenerator<Document> {
  if (/\.json(\.gz)?$/.test(path)) {
    for (const row of await jsonArray(path)) yield documentOf(row, path)
    return
  }
  if (path === '-' || /\.jsonl(\.gz)?$/.test(path)) {
    for await (const { row, where } of jsonLinesOf(path)) yield documentOf(row, where)
    return
  }
  let paragraph: string[] = []
  for await (const line of linesOf(path))
    if (line.trim() !== '') paragraph.push(line)
    else if (paragraph.length > 200) {
      yield paragraph.join('\n')
      paragraph = []
    } else if (paragraph.length > 0) paragraph.push('')
  if (paragraph.length > 0) yield paragraph.join('\n')
}

const asked = ['prompt', 'question', 'instruction'] as const
const answered = ['response', 'answer', 'output', 'answers', 'target', 'completion'] as const

function documentOf(row: Record<string, unknown>, where: string): Document {
  const text = (fields: readonly string[]) => fields.map((field) => row[field]).find((one) => typeof one === 'string')
  const turns = (row.messages ?? row.turns) as unknown
  if (Array.isArray(turns)) return turns.map((turn, index) => messageOf(turn, index, where))
  const question = text(asked)
  if (question !== undefined) {
    const input = typeof row.input === 'string' && row.input !== '' ? `\n\n${row.input}` : ''
    const answer = text(answered)
    const user = { role: 'user', content: `${question}${input}` } as const
    return answer === undefined ? [user] : [user, { role: 'assistant', content: answer as string }]
  }
  const plain = text(['text', 'content'])
  if (plain !== undefined) return plain as string
  throw new ForetokenError(
    'bad_argument',
    `${where}: none of text, content, messages, turns, ${asked.join(', ')}: nothing to fit from`,
  )
}

/** `{role, content}`, a text, or a pair of a speaker and a text; speakers take turns, the user first. */
function messageOf(turn: unknown, index: number, where: string): Message {
  const role = index % 2 === 0 ? 'user' : 'assistant'
  if (typeof turn === 'string') return { role, content: turn }
  if (Array.isArray(turn) && typeof turn.at(-1) === 'string') return { role, content: turn.at(-1) }
  const { role: named, content } = (turn ?? {}) as Partial<Message>
  if (typeof content === 'string') return { role: named ?? role, content }
  throw new ForetokenError('bad_argument', `${where}: turn ${index + 1} holds no text`)
}

async function jsonArray(path: string): Promise<Record<string, unknown>[]> {
  const parts: Buffer[] = []
  try {
    const bytes = createReadStream(path)
    for await (const part of path.endsWith('.gz') ? bytes.pipe(createGunzip()) : bytes) parts.push(part as Buffer)
  } catch (error) {
    throw fileError(error, path)
  }
  const { rows } = jsonLine(`{"rows":${decodeText(Buffer.concat(parts), path)}}`, path, 1)
  if (!Array.isArray(rows)) throw new ForetokenError('bad_argument', `${path} is not a JSON array`)
  return rows
}
