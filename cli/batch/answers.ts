/** The output file of a batch: what it already answers, and lines added one at a time, each whole or not at all. */
import { type FileHandle, open } from 'node:fs/promises'
import { ForetokenError, fileError } from '../../node/index.ts'
import { writeStdout } from '../terminal.ts'
import { readLines } from './read-lines.ts'

/** Where the answers of a batch go. */
export interface AnswerSink {
  /** For people. */
  readonly path: string
  /** Input line numbers that were answered by an earlier run, and the hashes of their texts. */
  readonly answered: ReadonlyMap<number, string>
  /** Adds a line. Resolves when the system has it. */
  append(line: string): Promise<void>
  close(): Promise<void>
}

/** Stdout: nothing was answered before. */
export function stdoutAnswers(): AnswerSink {
  return {
    path: 'stdout',
    answered: new Map(),
    append: (line) => writeStdout(new TextEncoder().encode(`${line}\n`)),
    async close() {},
  }
}

export class AnswerFile implements AnswerSink {
  readonly path: string
  readonly answered: ReadonlyMap<number, string>
  readonly #handle: FileHandle
  #end: number
  #writing: Promise<void> = Promise.resolve()

  /**
   * Opens `path`, or makes it. A torn last line, of a run that was killed while it wrote, is cut off. Throws `bad_argument` for a
   * file that no batch wrote, `io`, `not_found`, `disk_full`.
   */
  static async open(path: string): Promise<AnswerFile> {
    const handle = await open(path, 'a+').catch((error) => {
      throw fileError(error, path)
    })
    try {
      if (!(await handle.stat()).isFile())
        throw new ForetokenError('bad_argument', `${path} is not a file; for standard output write -`)
      const { answered, end } = await readAnswers(path)
      await handle.truncate(end)
      return new AnswerFile(path, handle, answered, end)
    } catch (error) {
      await handle.close()
      throw fileError(error, path)
    }
  }

  private constructor(path: string, handle: FileHandle, answered: ReadonlyMap<number, string>, end: number) {
    this.path = path
    this.#handle = handle
    this.answered = answered
    this.#end = end
  }

  /** Adds a line. Resolves when the system has it; a line that fails half-way is taken back. */
  append(line: string): Promise<void> {
    this.#writing = this.#writing.then(() => this.#write(Buffer.from(`${line}\n`)))
    return this.#writing
  }

  async #write(bytes: Buffer): Promise<void> {
    try {
      for (let at = 0; at < bytes.length; ) at += (await this.#handle.write(bytes, at)).bytesWritten
      this.#end += bytes.length
    } catch (error) {
      await this.#handle.truncate(this.#end).catch(() => {})
      throw fileError(error, this.path)
    }
  }

  async close(): Promise<void> {
    await this.#writing.catch(() => {})
    await this.#handle.sync().catch(() => {})
    await this.#handle.close()
  }
}

async function readAnswers(path: string): Promise<{ answered: Map<number, string>; end: number }> {
  const answered = new Map<number, string>()
  let end = 0
  for await (const line of readLines(path)) {
    if (!line.whole) break
    const { line: number, input } = answerOf(line.bytes)
    if (!Number.isInteger(number) || typeof input !== 'string')
      throw new ForetokenError(
        'bad_argument',
        `${path}, line ${line.number}: not written by this command; choose another output file`,
      )
    answered.set(number as number, input)
    end = line.end
  }
  return { answered, end }
}

function answerOf(bytes: Uint8Array | undefined): { line?: unknown; input?: unknown } {
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {}
  } catch {
    return {}
  }
}
