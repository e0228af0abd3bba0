/**
 * A file as a ByteSource: bytes go straight into the caller's view, which may be wasm memory.
 *
 * Reads are synchronous. A model is read in hundreds of pieces of half a megabyte, mostly from the
 * page cache, and the way through the thread pool took longer than reading (0.4 of 0.7 s for the
 * default model).
 */
import { closeSync, openSync, readSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { type ByteSource, ForetokenError, isWhole } from '../src/index.ts'
import { fileError } from './disk.ts'

export interface FileSource extends ByteSource {
  /** Closes the file. Later reads open it again. */
  close(): Promise<void>
}

/**
 * Opens `path`. Throws `not_found`, `io`. The file's size is fixed at opening; a file that shrinks
 * later fails with `io`.
 */
export async function fileSource(path: string): Promise<FileSource> {
  const { size } = await stat(path).catch((error) => {
    throw fileError(error, path)
  })
  let handle: number | undefined
  return {
    name: path,
    size,
    async read(offset, into) {
      if (!isWhole(offset, 0, size - into.length))
        throw new ForetokenError('io', `${path}: ${into.length} bytes at ${offset} are outside of its ${size} bytes`)
      try {
        handle ??= openSync(path, 'r')
        for (let done = 0; done < into.length; ) {
          const bytesRead = readSync(handle, into, done, into.length - done, offset + done)
          if (bytesRead === 0)
            throw new ForetokenError(
              'io',
              `${path} ended at ${offset + done} of ${size} bytes: it was changed meanwhile`,
            )
          done += bytesRead
        }
      } catch (error) {
        throw fileError(error, path)
      }
    },
    async close() {
      if (handle !== undefined) closeSync(handle)
      handle = undefined
    },
  }
}
