/** Recorded traffic: when requests came, how long they were, and which prefixes they shared. */

import { defined } from '../src/base/at.ts'
import { createRandom } from '../src/decode/random.ts'
import { ForetokenError } from '../src/index.ts'
import { jsonLine, linesOf } from './lines.ts'

export interface TraceRow {
  /** Milliseconds since the first request. */
  readonly at_ms: number
  readonly prompt_tokens: number
  readonly output_tokens: number
  /** Hashes of the prompt's blocks, in order: equal prefixes have equal hashes. */
  readonly blocks?: readonly number[]
}

/** Number of tokens of a block of the Mooncake traces. */
export const traceBlock = 512

/**
 * Reads Azure's CSV (TIMESTAMP, ContextTokens, GeneratedTokens;
 * github.com/Azure/AzurePublicDataset) or Mooncake's JSON lines (timestamp in ms, input_length,
 * output_length, hash_ids; github.com/kvcache-ai/Mooncake), gzipped or not. Throws `not_found`, and
 * `bad_argument` with the line that cannot be read.
 */
export async function readTrace(path: string): Promise<TraceRow[]> {
  const rows: TraceRow[] = []
  const json = path === '-' || /\.jsonl(\.gz)?$/.test(path)
  let number = 0
  for await (const line of linesOf(path)) {
    number++
    if (line.trim() === '' || (!json && number === 1)) continue
    rows.push(json ? mooncakeRow(line, path, number) : azureRow(line, path, number))
  }
  if (rows.length === 0) throw new ForetokenError('bad_argument', `${path} has no requests`)
  rows.sort((a, b) => a.at_ms - b.at_ms)
  const begin = defined(rows[0]).at_ms
  return rows.map((row) => ({ ...row, at_ms: row.at_ms - begin }))
}

function azureRow(line: string, path: string, number: number): TraceRow {
  const [time = '', prompt = '', output = ''] = line.split(',')
  // The file has seven decimals of a second; Date reads three.
  const [, whole, fraction = ''] = /^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d{1,9})?$/.exec(time) ?? []
  const at =
    whole === undefined ? Number.NaN : Date.parse(`${whole.replace(' ', 'T')}Z`) + Number(`0${fraction}`) * 1000
  return checked({ at_ms: at, prompt_tokens: count(prompt), output_tokens: count(output) }, path, number)
}

function mooncakeRow(line: string, path: string, number: number): TraceRow {
  const { timestamp, input_length, output_length, hash_ids } = jsonLine(line, path, number)
  const blocks = Array.isArray(hash_ids) ? hash_ids.map(Number) : [Number.NaN]
  const row = { at_ms: Number(timestamp), prompt_tokens: Number(input_length), output_tokens: Number(output_length) }
  return checked({ ...row, blocks }, path, number)
}

function count(text: string): number {
  return /^\s*\d+\s*$/.test(text) ? Number(text) : Number.NaN
}

function checked(row: TraceRow, path: string, number: number): TraceRow {
  const sound =
    Number.isFinite(row.at_ms) &&
    [row.prompt_tokens, row.output_tokens, ...(row.blocks ?? [])].every(
      (value) => Number.isSafeInteger(value) && value >= 0 && value < 2 ** 40,
    )
  if (sound) return row
  throw new ForetokenError('bad_argument', `${path}, line ${number}: not a time and two counts of tokens`)
}

export interface Scaling {
  /** Factor on prompt lengths; answers keep their lengths. */
  readonly scale: number
  /** Longest prompt after that, and longest answer; longer ones are cut to it. */
  readonly mostPrompt: number
  readonly mostOutput: number
  /** Number of requests to read, from the beginning of the trace. */
  readonly requests: number
}

export function scaleTrace(
  rows: readonly TraceRow[],
  { scale, mostPrompt, mostOutput, requests }: Scaling,
): TraceRow[] {
  const within = (tokens: number, most: number) => Math.min(most, Math.max(1, Math.round(tokens)))
  return rows.slice(0, requests).map((row) => ({
    ...row,
    prompt_tokens: within(row.prompt_tokens * scale, mostPrompt),
    output_tokens: within(row.output_tokens, mostOutput),
  }))
}

/** Returns the same arrivals, stretched in time to a mean of `perSecond`. */
export function atRate(rows: readonly TraceRow[], perSecond: number): TraceRow[] {
  const span = defined(rows.at(-1)).at_ms - defined(rows[0]).at_ms
  const stretch = span === 0 ? 0 : ((rows.length - 1) * 1000) / perSecond / span
  return rows.map((row) => ({ ...row, at_ms: (row.at_ms - defined(rows[0]).at_ms) * stretch }))
}

/**
 * Returns token ids in 0..vocab - 1 for each row. A block's ids depend only on its hash, so equal
 * prefixes stay equal. Tokens outside blocks, and all tokens of a row without blocks, are unique to
 * the row.
 */
export function promptsOf(
  rows: readonly TraceRow[],
  { vocab, blockTokens, seed }: { vocab: number; blockTokens: number; seed: number },
): number[][] {
  return rows.map((row, index) => {
    const ids: number[] = []
    for (const block of row.blocks ?? []) {
      if (ids.length >= row.prompt_tokens) break
      draw(ids, Math.min(blockTokens, row.prompt_tokens - ids.length), vocab, seed * 2 ** 41 + block)
    }
    draw(ids, row.prompt_tokens - ids.length, vocab, seed * 2 ** 41 + 2 ** 40 + index)
    return ids
  })
}

function draw(ids: number[], count: number, vocab: number, seed: number): void {
  const next = createRandom(seed)
  for (let i = 0; i < count; i++) ids.push(Math.floor(next() * vocab))
}
