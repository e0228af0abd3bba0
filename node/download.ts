/**
 * Downloads a file over HTTP. A download resumes where it stopped, is retried and checked, and only
 * then gets its name, so a reader of `target` never meets an incomplete file.
 *
 * A lock keeps two processes from fetching one file twice. Correctness does not depend on it:
 * neither process can spoil the other's file (`partial.ts`).
 */
import { rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { asForetokenError, Callback, ForetokenError } from '../src/index.ts'
import { type diskSpace, fileError, makeRoom } from './disk.ts'
import { type Expected, mismatch } from './hash.ts'
import { httpFetch } from './http.ts'
import { withLock } from './lock.ts'
import { PartialFile } from './partial.ts'
import { canGoOn, longestWaitMs, Retry, type TransferRequest, transfer } from './transfer.ts'

/** The fields of `Expected` are those that the caller knows before. */
export interface DownloadRequest extends Expected {
  readonly url: string
  readonly target: string
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal | undefined
  /** Called with the bytes done, and the total if it is known. */
  readonly onProgress?: ((done: number, total: number | undefined) => void) | undefined
  /** Called once if another process fetches the file and this one has to wait for it. */
  readonly onWait?: ((holder: string) => void) | undefined
  readonly fetch?: typeof fetch | undefined
  /** Number of tries without progress before giving up. Default 5. */
  readonly tries?: number
  /** First wait between tries in milliseconds, doubled each time. Default 500. */
  readonly backoffMs?: number
  readonly connectMs?: number
  readonly stallMs?: number
  /** Maximum bytes of a file whose size is not known before. Default 16 GB. */
  readonly maxBytes?: number | undefined
  /** Returns the free space of a disk; for tests. */
  readonly space?: typeof diskSpace | undefined
}

const defaultMaxBytes = 16e9
/** Bytes that a try must bring to count as progress. */
const progressBytes = 1000
/**
 * Two processes that fetch one file do no harm, so one that is silent for this many milliseconds is
 * not waited for.
 */
const silentMs = 10_000

/**
 * Fetches `url` into `target`. An existing file stays if it has the promised hash; it is replaced
 * if it has another hash, or if no hash was promised. Throws `network`, `not_found`, `checksum`,
 * `disk_full`, `io`, `aborted`.
 */
export async function download(request: DownloadRequest): Promise<void> {
  const { target, signal, onWait } = request
  const before = await signOf(target)
  if (isHashed(request) && (await isWhole(request))) return
  await makeRoom(dirname(target), 0)
  const work = async () => {
    // Another process may have brought the file meanwhile.
    const brought = isHashed(request) || (await signOf(target)) !== before
    if (!(brought && (await isWhole(request)))) await fetchVerified(request, target)
  }
  await withLock(`${target}.lock`, work, { signal, onWait, silentMs })
}

function isHashed({ sha256, gitOid }: Expected): boolean {
  return (sha256 ?? gitOid) !== undefined
}

/** Returns the identity of a file and the time of its last change; '' if it does not exist. */
async function signOf(path: string): Promise<string> {
  return stat(path, { bigint: true }).then(
    ({ ino, ctimeNs }) => `${ino} ${ctimeNs}`,
    () => '',
  )
}

/** Returns true if the file exists and is what was promised. Any other file is removed. */
async function isWhole(request: DownloadRequest): Promise<boolean> {
  const found = await stat(request.target).catch(() => undefined)
  if (!found) return false
  if (found.isFile() && (await mismatch(request, request.target)) === undefined) return true
  await rm(request.target, { force: true }).catch((error) => {
    throw fileError(error, request.target)
  })
  return false
}

async function fetchVerified(request: DownloadRequest, target: string, again = false): Promise<void> {
  const transferRequest: TransferRequest = {
    url: request.url,
    fetch: request.fetch ?? httpFetch,
    signal: request.signal,
    connectMs: request.connectMs ?? 20_000,
    stallMs: request.stallMs ?? 30_000,
    size: request.size,
    hashed: isHashed(request),
    maxBytes: request.maxBytes ?? defaultMaxBytes,
    space: request.space,
    ...(request.headers && { headers: request.headers }),
  }
  const part = await PartialFile.open(target, request.url, (version, size) => {
    return canGoOn(transferRequest, version) && (request.size === undefined || size === request.size)
  }).catch((error) => {
    throw fileError(error, target)
  })
  let ended = false
  try {
    const continued = await fetchAll(request, transferRequest, part)
    await part.sync()
    const empty = part.have === 0 && request.size !== 0
    const wrong = empty ? 'it is empty' : await mismatch({ ...request, size: part.size }, part.path)
    ended = true
    if (wrong === undefined) return await finished(request, part, again)
    await part.discard()
    // Bytes of an earlier request may be to blame, so it tries once more from the start.
    if (continued && !again) return await fetchVerified(request, target, true)
    throw new ForetokenError('checksum', `${request.url}: ${wrong}; nothing was kept, run it again`)
  } catch (error) {
    const failure = (error as NodeJS.ErrnoException).syscall
      ? fileError(error, part.path)
      : asForetokenError(error, 'network', request.url)
    if (!ended) await part.end(mayPass(failure) && canGoOn(transferRequest, part.version))
    throw failure
  }
}

/**
 * Gives the file its name. If the partial is gone, another process has brought the file, or it is
 * fetched once more.
 */
async function finished(request: DownloadRequest, part: PartialFile, again: boolean): Promise<void> {
  try {
    await part.finish()
  } catch (error) {
    if (!(error instanceof ForetokenError) || error.code !== 'not_found' || again) throw error
    if (!(await isWhole(request))) await fetchVerified(request, request.target, true)
  }
}

/**
 * Downloads the missing bytes of `part`. Returns true if bytes of an earlier request were
 * continued.
 */
async function fetchAll(request: DownloadRequest, transfers: TransferRequest, part: PartialFile): Promise<boolean> {
  const tries = request.tries ?? 5
  const onProgress = new Callback('onProgress', request.onProgress)
  const report = (done: number) => onProgress.call(done, part.size)
  let continued = part.have > 0
  for (let failed = 0, begun = 0; ; ) {
    if (part.size !== undefined && part.have === part.size && part.have > 0) return continued
    const before = part.have
    try {
      const resumed = await transfer(transfers, part, report)
      await onProgress.settle()
      return resumed || continued
    } catch (error) {
      if (!(error instanceof Retry)) throw error
      if (error.anew) {
        begun++
        continued = false
        await part.begin(0, { strong: false }, undefined)
      }
      const kept = canGoOn(transfers, part.version) && part.have >= before + progressBytes
      if (kept) continued = true
      failed = kept ? 1 : failed + 1
      if (failed >= tries || begun > tries) {
        const left = canGoOn(transfers, part.version)
          ? `${part.have} bytes are kept: run it again to go on`
          : 'nothing is kept'
        throw new ForetokenError('network', `${request.url}: ${error.message}, after ${tries} tries; ${left}`, {
          cause: error,
        })
      }
      const wait = error.wait ?? (request.backoffMs ?? 500) * 2 ** (failed - 1)
      await sleep(Math.min(wait, longestWaitMs), undefined, {
        ...(request.signal && { signal: request.signal }),
      }).catch((cause) => {
        throw new ForetokenError('aborted', 'the download was cancelled; what has arrived is kept', { cause })
      })
    }
  }
}

/** Returns true if a later run may continue from the same bytes. */
function mayPass({ code, cause }: ForetokenError): boolean {
  return (
    cause instanceof Retry || code === 'aborted' || code === 'disk_full' || code === 'io' || code === 'bad_argument'
  )
}
