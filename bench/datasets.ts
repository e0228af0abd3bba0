/** Prompts to measure with: named sets in a data folder, a user's own file, or random lengths. */

import { join } from 'node:path'
import { defined } from '../src/base/at.ts'
import { createRandom } from '../src/decode/random.ts'
import { type Engine, ForetokenError } from '../src/index.ts'
import { lognormalLengths, shuffled, uniformLengths } from './lengths.ts'
import { jsonLine, linesOf } from './lines.ts'

/** How a set's texts become prompts: as a user's message in the chat template, or as plain text. */
type Kind = 'chat' | 'text'

interface Source {
  readonly file: string
  readonly kind: Kind
  /** Maximum length of a prompt in tokens; the rest is cut off. */
  readonly cut?: number
}

const sources: Readonly<Record<string, Source>> = {
  'arena-hard': { file: 'prompts/arena_hard_v0.1.jsonl.gz', kind: 'chat' },
  'mt-bench': { file: 'prompts/mt_bench_question.jsonl', kind: 'chat' },
  instructions: { file: 'prompts/user_oriented_instructions.jsonl', kind: 'chat' },
  gsm8k: { file: 'eval/gsm8k_test.jsonl.gz', kind: 'chat' },
  humaneval: { file: 'eval/HumanEval.jsonl.gz', kind: 'text' },
  'arc-easy': { file: 'eval/arc_easy.jsonl.gz', kind: 'text' },
  piqa: { file: 'eval/piqa.jsonl.gz', kind: 'text' },
  triviaqa: { file: 'eval/triviaqa_sm_sub.odd.jsonl.gz', kind: 'text' },
  lambada: { file: 'eval/lambada_openai.jsonl.gz', kind: 'text' },
  wikidata: { file: 'eval/bigbench_qa_wikidata.jsonl.gz', kind: 'text' },
  wikitext256: { file: 'eval/wikitext2_valid.txt.gz', kind: 'text', cut: 256 },
  wikitext512: { file: 'eval/wikitext2_valid.txt.gz', kind: 'text', cut: 512 },
}

export interface DatasetOptions {
  /** Maximum number of prompts, drawn at random from a larger set. */
  readonly count: number
  readonly seed: number
  /** The folder of the named sets. */
  readonly folder: string | undefined
  /** Longer prompts are skipped, except in sets that cut them. */
  readonly mostTokens: number
}

/**
 * Loads prompts as token ids: of a named set, of a path (JSON lines or plain lines, gzipped or not;
 * read as chats), or of random lengths (`lognormal-256-0.5`, `uniform-8-40`) with random tokens.
 * Throws `not_found`, `bad_argument`.
 */
export async function loadPrompts(engine: Engine, name: string, options: DatasetOptions): Promise<number[][]> {
  const lengths = drawnLengths(name, options)
  if (lengths) return randomPrompts(engine, lengths, options.seed)
  const source = Object.hasOwn(sources, name) ? defined(sources[name]) : { file: name, kind: 'chat' as const }
  const texts = await textsOf(source.file === name ? name : pathOf(name, source.file, options.folder))
  const prompts: number[][] = []
  for (const text of shuffled(texts, options.seed)) {
    if (prompts.length === options.count) break
    const ids = promptOf(engine, text, source, options.mostTokens)
    if (ids) prompts.push(ids)
  }
  if (prompts.length === 0) throw new ForetokenError('bad_argument', `${name} has no prompt that fits`)
  return prompts
}

/**
 * Returns a set's texts, in order. Throws `not_found`, and `bad_argument` with the line that cannot
 * be read.
 */
export async function textsOf(path: string): Promise<string[]> {
  const texts: string[] = []
  const json = path === '-' || /\.jsonl?(\.gz)?$/.test(path)
  let number = 0
  for await (const line of linesOf(path)) {
    number++
    const text = json && line.trim() !== '' ? textOf(jsonLine(line, path, number)) : line.trim()
    if (text === undefined)
      throw new ForetokenError('bad_argument', `${path}, line ${number}: none of the fields ${fields.join(', ')}`)
    // A heading or a lone word is not a prompt (as in the paper's code).
    if (/\S\s+\S/.test(text)) texts.push(text)
  }
  return texts
}

const fields = ['prompt', 'messages', 'turns', 'text', 'question', 'instruction', 'context', 'query'] as const

/** Returns the first thing that a person says in a row. */
function textOf(row: Record<string, unknown>): string | undefined {
  for (const field of fields) {
    const value = row[field]
    if (typeof value === 'string') return field === 'instruction' ? withInput(value, row) : value
    if (!Array.isArray(value)) continue
    const turns = value.map((turn) => (typeof turn === 'string' ? { role: 'user', content: turn } : turn))
    const user = turns.find((turn) => turn?.role === undefined || turn.role === 'user')
    if (typeof user?.content === 'string') return user.content
  }
  return undefined
}

function withInput(instruction: string, row: Record<string, unknown>): string {
  const instances = row.instances as readonly { input?: unknown }[] | undefined
  const input = row.input ?? instances?.[0]?.input
  return typeof input === 'string' && input !== '' ? `${instruction}\n\n${input}` : instruction
}

function promptOf(engine: Engine, text: string, { kind, cut }: Source, most: number): number[] | undefined {
  const ids = kind === 'chat' ? chatIds(engine, text) : engine.tokenize(text)
  if (!ids) return undefined
  if (cut !== undefined) return ids.slice(0, Math.min(cut, most))
  return ids.length <= most ? ids : undefined
}

/** Returns undefined for a prompt that is longer than the engine's context. */
function chatIds(engine: Engine, text: string): number[] | undefined {
  try {
    return engine.promptIds(text)
  } catch (error) {
    if (error instanceof ForetokenError && error.code === 'context_exceeded') return undefined
    throw error
  }
}

/**
 * Draws lengths for a name such as `lognormal-256-0.5` or `uniform-8-40`; returns undefined for
 * another name.
 */
export function drawnLengths(name: string, { count, seed, mostTokens }: DatasetOptions): number[] | undefined {
  const [, kind, a = '', b = ''] = /^(lognormal|uniform)-(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)$/.exec(name) ?? []
  if (kind === 'lognormal') return lognormalLengths(count, Number(a), Number(b), seed, { max: mostTokens })
  if (kind === 'uniform') return uniformLengths(count, Number(a), Math.min(Number(b), mostTokens), seed)
  return undefined
}

function randomPrompts(engine: Engine, lengths: readonly number[], seed: number): number[][] {
  const next = createRandom(seed + 1)
  const { vocab } = engine.archive.config
  return lengths.map((length) => Array.from({ length }, () => Math.floor(next() * vocab)))
}

function pathOf(name: string, file: string, folder: string | undefined): string {
  if (folder) return join(folder, file)
  throw new ForetokenError(
    'not_found',
    `the set ${name} is ${file} in a data folder: name the folder with --data or FORETOKEN_DATA, or give a path`,
  )
}
