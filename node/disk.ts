/**
 * Turns file-system failures into ForetokenErrors, and checks for free space before and during a
 * large write.
 */
import { mkdir, statfs } from 'node:fs/promises'
import { ForetokenError } from '../src/index.ts'

/**
 * Returns the error of a file-system call as a ForetokenError: `disk_full`, `not_found` or `io`.
 * `doing` begins the message.
 */
export function fileError(error: unknown, doing: string): ForetokenError {
  if (error instanceof ForetokenError) return error
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new ForetokenError('disk_full', `${doing}: the disk is full; free some space and run it again`, {
      cause: error,
    })
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return new ForetokenError('not_found', `${doing}: no such file or folder`, { cause: error })
  if (code === 'EISDIR') return new ForetokenError('io', `${doing}: a folder, not a file`, { cause: error })
  return new ForetokenError('io', `${doing}: ${message}`, { cause: error })
}

/** Returns the free and the total bytes of the disk that holds `folder`. */
export async function diskSpace(folder: string): Promise<{ readonly free: number; readonly total: number }> {
  const { bavail, blocks, bsize } = await statfs(folder)
  return { free: bavail * bsize, total: blocks * bsize }
}

/**
 * Returns the bytes that a download leaves free for others: 2 % of the disk, at least 8 MB and at
 * most 512 MB.
 */
export function reserveOf(total: number): number {
  return Math.max(8e6, Math.min(512e6, 0.02 * total))
}

/**
 * Checks that `bytes` more fit on the disk of `folder` and leave its reserve free. Throws
 * `disk_full`, `io`. `space` is for tests.
 */
export async function checkRoom(folder: string, bytes: number, space: typeof diskSpace = diskSpace): Promise<void> {
  const { free, total } = await space(folder).catch((error) => {
    throw fileError(error, folder)
  })
  const reserve = reserveOf(total)
  if (free >= bytes + reserve) return
  throw new ForetokenError(
    'disk_full',
    `${bytes > 0 ? `${megabytes(bytes)} are needed in ${folder}` : `${folder} is nearly full`}, ${megabytes(free)} are free, of which ` +
      `${megabytes(reserve)} stay free; free some space, or set FORETOKEN_HOME or HF_HOME to a larger disk`,
  )
}

/** Creates `folder` and checks that `bytes` fit on its disk. Throws `disk_full`, `io`. */
export async function makeRoom(folder: string, bytes: number): Promise<void> {
  await mkdir(folder, { recursive: true }).catch((error) => {
    throw fileError(error, folder)
  })
  await checkRoom(folder, bytes)
}

export function megabytes(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`
}
