/** The output of a batch: finds the lines that an earlier run answered, and appends whole lines. */
import { type FileHandle, open } from 'node:fs/promises'
import { ForetokenError, fileError } from '../../node/index.ts'
import { writeStdout } from '../terminal.ts'
import { readLines } from './read-lines.ts'

/** The destination of a batch's answers. */
export interface AnswerSink {
  /** The path, or `stdout`, for messages. */
  readonly path: string
  /** Input line numbers that an earlier run answered, with the hashes of their texts. */
  readonly answered: ReadonlyMap<number, string>
  /** Appends a line. Resolves when the system has accepted it. */
  append(line: string): Promise<void>
  close(): Promise<void>
}

/** Returns a sink that writes to stdout, where no earlier answers exist. */
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
   * Opens or creates `path`. Cuts off an incomplete last line, which a killed run leaves. Throws
   * `bad_argument` for a file that no batch wrote, `io`, `not_found`, `disk_full`.
   */
  static async open(path: string): Promise<AnswerFile> {
    const handle = await open(path, 'a+').catch((error) => {
      throw fileError(error, path)
    })
    try {
      if (!(await handle.stat()).isFile())
        throw new ForetokenError('bad_argument', `${path} is not a file; use - for standard output`)
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

  /** Appends a line. Resolves when the system has accepted it; removes a line that fails midway. */
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
        `${path}, line ${line.number}: not written by foretoken batch; choose another output file`,
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
