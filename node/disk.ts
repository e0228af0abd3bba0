/** File-system failures as ForetokenErrors, and the check for room before a large write. */
import { mkdir, statfs } from 'node:fs/promises'
import { ForetokenError } from '../src/index.ts'

/** `error` of a file-system call as a ForetokenError: `disk_full`, `not_found` or `io`. `doing` begins the message. */
export function fileError(error: unknown, doing: string): ForetokenError {
  if (error instanceof ForetokenError) return error
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new ForetokenError('disk_full', `${doing}: the disk is full; free some space and run it again`, {
      cause: error,
    })
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return new ForetokenError('not_found', `${doing}: no such file or folder`, { cause: error })
  return new ForetokenError('io', `${doing}: ${message}`, { cause: error })
}

/** Makes `folder` and checks that `bytes` fit on its disk, with a little to spare. Throws `disk_full`, `io`. */
export async function makeRoom(folder: string, bytes: number): Promise<void> {
  try {
    await mkdir(folder, { recursive: true })
    const { bavail, bsize } = await statfs(folder)
    const free = bavail * bsize
    if (free < bytes + 8e6)
      throw new ForetokenError(
        'disk_full',
        `${megabytes(bytes)} are needed in ${folder}, ${megabytes(free)} are free; free some space, or set FORETOKEN_HOME or HF_HOME to a larger disk`,
      )
  } catch (error) {
    throw fileError(error, folder)
  }
}

export function megabytes(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`
}
