/** A file as a ByteSource: bytes go straight into the caller's view, which may be wasm memory. */
import { open, stat } from 'node:fs/promises'
import { type ByteSource, ForetokenError } from '../src/index.ts'
import { fileError } from './disk.ts'

export interface FileSource extends ByteSource {
  /** Closes the file; reads after it open it again. */
  close(): Promise<void>
}

/** Opens `path`. Throws `not_found`, `io`. The file's size is fixed at opening; a file that shrinks later fails with `io`. */
export async function fileSource(path: string): Promise<FileSource> {
  const { size } = await stat(path).catch((error) => {
    throw fileError(error, path)
  })
  let handle: Awaited<ReturnType<typeof open>> | undefined
  return {
    name: path,
    size,
    async read(offset, into) {
      if (!Number.isSafeInteger(offset) || offset < 0 || offset + into.length > size)
        throw new ForetokenError('io', `${path}: ${into.length} bytes at ${offset} are outside of its ${size} bytes`)
      try {
        handle ??= await open(path)
        for (let done = 0; done < into.length; ) {
          const { bytesRead } = await handle.read(into, done, into.length - done, offset + done)
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
      await handle?.close()
      handle = undefined
    },
  }
}
