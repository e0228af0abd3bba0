/**
 * A file from HTTP to disk: resumed where it stopped, retried, checked, and only then given its name.
 *
 * Beside `target` lie, while it is on its way, `target.part` (the bytes), `target.part.json` (which version of the file
 * they are of) and `target.lock`. A reader of `target` never meets a file that is not whole.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { asForetokenError, ForetokenError } from '../src/index.ts'
import { fileError, makeRoom } from './disk.ts'
import { withLock } from './lock.ts'
import { type Part, Retry, type TransferRequest, transfer } from './transfer.ts'

export interface DownloadRequest {
  readonly url: string
  readonly target: string
  readonly headers?: Readonly<Record<string, string>>
  /** Bytes, if they are known before. */
  readonly size?: number | undefined
  /** What the file must hash to: sha256, or the id git gives a file's content (sha1). */
  readonly sha256?: string | undefined
  readonly gitOid?: string | undefined
  readonly signal?: AbortSignal | undefined
  /** Bytes done, and in all if that is known. */
  readonly onProgress?: ((done: number, total: number | undefined) => void) | undefined
  readonly fetch?: typeof fetch
  /** Tries without a new byte before it is given up. Default 5. */
  readonly tries?: number
  /** First wait between tries, doubled each time. Default 500. */
  readonly backoffMs?: number
  readonly connectMs?: number
  readonly stallMs?: number
}

/** Fetches `url` into `target`, which is left alone if it is there. Throws `network`, `not_found`, `checksum`, `disk_full`, `io`, `aborted`. */
export async function download(request: DownloadRequest): Promise<void> {
  if (await exists(request.target)) return
  await makeRoom(dirname(request.target), 0)
  await withLock(
    `${request.target}.lock`,
    async () => {
      // Another process may have brought it meanwhile.
      if (!(await exists(request.target))) await fetchVerified(request)
    },
    { signal: request.signal },
  )
}

async function fetchVerified(request: DownloadRequest): Promise<void> {
  const part = `${request.target}.part`
  const resumed = await fetchPart(request, part)
  const wrong = await mismatch(request, part)
  if (wrong === undefined) {
    await rename(part, request.target)
    await rm(`${part}.json`, { force: true })
    return
  }
  await rm(part, { force: true })
  await rm(`${part}.json`, { force: true })
  // Bytes of an earlier run may be to blame: once more, from the start.
  if (resumed) return fetchVerified(request)
  throw new ForetokenError('checksum', `${request.url}: ${wrong}; nothing was kept, run it again`)
}

/** Brings `part` to its full length. Returns whether it began with bytes of an earlier run. */
async function fetchPart(request: DownloadRequest, path: string): Promise<boolean> {
  const transferRequest: TransferRequest = {
    url: request.url,
    fetch: request.fetch ?? fetch,
    signal: request.signal,
    connectMs: request.connectMs ?? 20_000,
    stallMs: request.stallMs ?? 30_000,
    ...(request.headers && { headers: request.headers }),
  }
  const part = await readPart(path, request)
  const resumed = part.have > 0
  const file = await open(path, 'a+').then(async (handle) => {
    await handle.close()
    return open(path, 'r+')
  })
  try {
    const tries = request.tries ?? 5
    for (let failed = 0; ; ) {
      const before = part.have
      try {
        if (part.size !== undefined && part.have === part.size && part.size > 0) break
        await transfer(transferRequest, file, part, begin, (done) => request.onProgress?.(done, part.size))
        break
      } catch (error) {
        if (!(error instanceof Retry)) throw error
        failed = part.have > before ? 1 : failed + 1
        if (failed >= tries)
          throw new ForetokenError(
            'network',
            `${request.url}: ${error.message}, after ${tries} tries; ${part.have} bytes are kept: run it again to go on`,
            { cause: error },
          )
        await sleep(Math.min(error.wait ?? (request.backoffMs ?? 500) * 2 ** (failed - 1), 30_000), undefined, {
          ...(request.signal && { signal: request.signal }),
        }).catch((cause) => {
          throw new ForetokenError('aborted', 'the download was cancelled; what has arrived is kept', { cause })
        })
      }
    }
    await file.sync()
    return resumed
  } catch (error) {
    throw (error as NodeJS.ErrnoException).syscall
      ? fileError(error, path)
      : asForetokenError(error, 'network', request.url)
  } finally {
    await file.close()
  }

  /** Before the first byte of an answer: the part file holds `have` bytes of this version, and there is room. */
  async function begin({ have, etag, size }: Part): Promise<void> {
    await file.truncate(have)
    if (size !== undefined) await makeRoom(dirname(path), size - have)
    await writeFile(`${path}.json`, JSON.stringify({ url: request.url, etag, size }))
    request.onProgress?.(have, size)
  }
}

/** What an earlier run left, if it is of the same file. */
async function readPart(path: string, request: DownloadRequest): Promise<Part> {
  const none: Part = { have: 0, etag: undefined, size: request.size }
  try {
    const { url, etag, size } = JSON.parse(await readFile(`${path}.json`, 'utf8'))
    const have = (await stat(path)).size
    const same = url === request.url && typeof etag === 'string' && (request.size ?? size) === size
    return same && (size === undefined || have <= size) ? { have, etag, size } : none
  } catch {
    return none
  }
}

/** What is wrong with a finished part, if anything. The bytes on disk are what is checked, not those that went by. */
async function mismatch({ size, sha256, gitOid }: DownloadRequest, path: string): Promise<string | undefined> {
  const have = (await stat(path)).size
  if (size !== undefined && have !== size) return `${have} bytes arrived, ${size} were promised`
  if (!sha256 && !gitOid) return undefined
  const hash = createHash(sha256 ? 'sha256' : 'sha1')
  if (!sha256) hash.update(`blob ${have}\0`)
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk)
  const found = hash.digest('hex')
  const wanted = sha256 ?? gitOid
  return found === wanted ? undefined : `its hash is ${found}, ${wanted} was promised`
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
