/**
 * Reads texts to fit from, as token ids: running text unchanged, questions and answers as chats.
 */

import { createReadStream } from 'node:fs'
import { createGunzip } from 'node:zlib'
import { shuffled } from '../../bench/lengths.ts'
import { jsonLine, jsonLinesOf, linesOf } from '../../bench/lines.ts'
import { type Engine, ForetokenError, fileError, type Message } from '../../node/index.ts'
import { createRandom } from '../../src/decode/random.ts'
import { decodeText } from '../text.ts'

/** Maximum number of rows sampled from a file, so that memory does not grow with the file. */
const mostRows = 20_000

/** A text, or a conversation. */
export type Document = string | readonly Message[]

export interface DocumentSets {
  /** Documents to fit from, one list for each file. */
  readonly training: readonly (readonly Document[])[]
  /** Every twentieth row, held out to measure quality. */
  readonly heldOut: readonly (readonly Document[])[]
}

/**
 * Reads JSON lines, JSON arrays or plain text, gzipped or not; stdin, `-`, must be JSON lines.
 * Throws `not_found`, `io`, `bad_argument`.
 */
export async function readDocuments(paths: readonly string[], seed: number): Promise<DocumentSets> {
  const training: Document[][] = []
  const heldOut: Document[][] = []
  for (const path of paths) {
    const all = await sampled(rowsOf(path), seed)
    if (all.length === 0) throw new ForetokenError('bad_argument', `${path} has no text to fit from`)
    heldOut.push(all.filter((_, index) => index % 20 === 0))
    training.push(all.filter((_, index) => index % 20 !== 0))
  }
  return { training, heldOut }
}

/**
 * Yields documents of at most `most` tokens, endlessly. Files alternate; each document is a random
 * row of a file, or a random stretch of a longer row. Short rows are joined with other rows of the
 * file.
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
    // Lengths vary, because positions and attention differ between 64 tokens and 1,024.
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

/** Returns at least one id, because rows without text were removed. */
function idsOf(engine: Pick<Engine, 'tokenize' | 'promptIds'>, row: Document): number[] {
  if (typeof row === 'string') return engine.tokenize(row)
  try {
    return engine.promptIds(row)
  } catch (error) {
    // Falls back to plain text without a chat template, or if the conversation exceeds the context.
    if (!(error instanceof ForetokenError)) throw error
    return engine.tokenize(row.map(({ content }) => content).join('\n\n'))
  }
}

/** Samples rows evenly from a stream of any length (Vitter's algorithm R), in random order. */
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

const questionFields = ['prompt', 'question', 'instruction'] as const
const answerFields = ['response', 'answer', 'output', 'answers', 'target', 'completion'] as const

function documentOf(row: Record<string, unknown>, where: string): Document {
  const text = (fields: readonly string[]) => fields.map((field) => row[field]).find((one) => typeof one === 'string')
  const turns = (row.messages ?? row.turns) as unknown
  if (Array.isArray(turns)) return turns.map((turn, index) => messageOf(turn, index, where))
  const question = text(questionFields)
  if (question !== undefined) {
    const input = typeof row.input === 'string' && row.input !== '' ? `\n\n${row.input}` : ''
    const answer = text(answerFields)
    const user = { role: 'user', content: `${question}${input}` } as const
    return answer === undefined ? [user] : [user, { role: 'assistant', content: answer as string }]
  }
  const plain = text(['text', 'content'])
  if (plain !== undefined) return plain as string
  throw new ForetokenError(
    'bad_argument',
    `${where}: no text to fit from; a row needs one of text, content, messages, turns, ${questionFields.join(', ')}`,
  )
}

/**
 * Converts `{role, content}`, a text, or a (speaker, text) pair; speakers alternate, user first.
 */
function messageOf(turn: unknown, index: number, where: string): Message {
  const role = index % 2 === 0 ? 'user' : 'assistant'
  if (typeof turn === 'string') return { role, content: turn }
  if (Array.isArray(turn) && typeof turn.at(-1) === 'string') return { role, content: turn.at(-1) }
  const { role: named, content } = (turn ?? {}) as Partial<Message>
  if (typeof content === 'string') return { role: named ?? role, content }
  throw new ForetokenError('bad_argument', `${where}: turn ${index + 1} has no text`)
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
