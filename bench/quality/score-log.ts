/**
 * Keeps the scores of cases in a file of JSON lines, so that a stopped measurement goes on where it
 * was. The first line says what was measured; each further line is a method's score on a case.
 */

import { appendFile, readFile, truncate, writeFile } from 'node:fs/promises'
import { ForetokenError } from '../../src/index.ts'
import { fits } from '../schema.ts'
import type { Score } from './score.ts'

/** What must be the same when a measurement goes on. */
export type LogHead = Readonly<Record<string, unknown>>

/** The place of a score. */
export interface ScorePlace {
  readonly suite: string
  readonly length: number
  /** Number of the case in the suite, from 0. */
  readonly index: number
  /** Tells the case from one of other data. */
  readonly key: number
  readonly method: string
  readonly wanted: number | null
}

export class ScoreLog {
  readonly #path: string | undefined
  readonly #scores: Map<string, { readonly key: number; readonly score: Score }>

  /**
   * Opens a log that lives in a file, or in memory without a path. Throws `bad_argument` for a file
   * of another measurement, and for one that is no log.
   */
  static async open(path: string | undefined, head: LogHead): Promise<ScoreLog> {
    const log = new ScoreLog(path)
    if (path === undefined) return log
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return ''
      throw new ForetokenError('io', `${path}: ${error.message}`, { cause: error })
    })
    if (text === '') await writeFile(path, `${JSON.stringify(head)}\n`)
    else await log.#read(path, text, head)
    return log
  }

  private constructor(path: string | undefined) {
    this.#path = path
    this.#scores = new Map()
  }

  /** Returns the score of a place, if it is known. Throws `bad_argument` if it is of another case. */
  get(place: ScorePlace): Score | undefined {
    const found = this.#scores.get(nameOf(place))
    if (found && found.key !== place.key)
      throw new ForetokenError(
        'bad_argument',
        `${this.#path}: case ${place.index} of ${place.suite}, ${place.length} tokens, was made from other data or another number of cases; choose another file`,
      )
    return found?.score
  }

  async add(place: ScorePlace, score: Score): Promise<void> {
    this.#scores.set(nameOf(place), { key: place.key, score })
    if (this.#path !== undefined) await appendFile(this.#path, `${JSON.stringify({ ...place, score })}\n`)
  }

  async #read(path: string, text: string, head: LogHead): Promise<void> {
    // A line that was being written when the process ended is written again.
    const whole = text.slice(0, text.lastIndexOf('\n') + 1)
    if (whole.length < text.length) await truncate(path, Buffer.byteLength(whole))
    for (const [index, line] of whole.split('\n').slice(0, -1).entries()) {
      const row = parsed(line)
      if (index === 0) this.#compare(path, row, head)
      else if (!fits(row, scoreLine))
        throw new ForetokenError('bad_argument', `${path}, line ${index + 1}: not the score of a case`)
      else {
        const { score, ...place } = row as unknown as ScorePlace & { readonly score: Score }
        this.#scores.set(nameOf(place), { key: place.key, score })
      }
    }
  }

  #compare(path: string, row: unknown, head: LogHead): void {
    const before = (typeof row === 'object' && row !== null ? row : {}) as LogHead
    const other = Object.keys(head).find((name) => JSON.stringify(before[name]) !== JSON.stringify(head[name]))
    if (other !== undefined)
      throw new ForetokenError(
        'bad_argument',
        `${path} belongs to another measurement: its ${other} is ${JSON.stringify(before[other]) ?? 'not given'}, not ${JSON.stringify(head[other])}; choose another file`,
      )
  }
}

const scoreLine = {
  suite: 'string',
  length: 'number',
  index: 'number',
  key: 'number',
  method: 'string',
  score: { kl: 'number', share: 'number', ttft_ms: 'number' },
} as const

function nameOf({ suite, length, index, method, wanted }: ScorePlace): string {
  return [suite, length, index, method, wanted].join(' ')
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
