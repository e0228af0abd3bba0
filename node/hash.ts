/** Hashes of files. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'

/**
 * The size that a file must have, and its sha256 or the id that git gives its content (sha1), in
 * hex.
 */
export interface Expected {
  readonly size?: number | undefined
  readonly sha256?: string | undefined
  readonly gitOid?: string | undefined
}

/** Returns what is wrong with a file; undefined if it is as expected. */
export async function mismatch({ size, sha256, gitOid }: Expected, path: string): Promise<string | undefined> {
  const have = (await stat(path)).size
  if (size !== undefined && have !== size) return `${have} bytes arrived, ${size} were promised`
  if (!sha256 && !gitOid) return undefined
  const found = sha256 ? await hashFile(path) : await hashFile(path, 'sha1', `blob ${have}\0`)
  const wanted = sha256 ?? gitOid
  return found === wanted ? undefined : `its hash is ${found}, ${wanted} was promised`
}

/** Returns the hash of `head` and the file's bytes, in hex. */
export async function hashFile(path: string, algorithm: 'sha256' | 'sha1' = 'sha256', head = ''): Promise<string> {
  const hash = createHash(algorithm).update(head)
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk)
  return hash.digest('hex')
}

/** Returns the SHA-256 of a text's UTF-8, or of bytes, as lower-case hex digits. */
export function sha256Of(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
