/**
 * Models from the Hugging Face hub, into the cache that its other tools use, too: what they have pulled is used, and
 * what is pulled here they find.
 *
 * `@huggingface/hub` tells what a repository holds and what its files must hash to. The bytes are fetched by
 * `download.ts`, since the package's own transfer neither resumes nor checks.
 */
import { copyFile, mkdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { ForetokenError } from '../src/index.ts'
import { fileError } from './disk.ts'
import { type DownloadRequest, download } from './download.ts'
import { chooseFiles } from './hub-files.ts'
import { checkFileName } from './names.ts'
import type { StoredFile } from './store.ts'
import { reasonOf } from './transfer.ts'

export interface HubRequest extends Pick<DownloadRequest, 'signal' | 'fetch' | 'tries' | 'backoffMs' | 'stallMs'> {
  readonly repo: string
  readonly revision: string
  readonly file?: string
  /** Milliseconds for the hub's first answer. Default 20,000. */
  readonly connectMs?: number
  /** Must be the file's own, if there is only one. */
  readonly sha256?: string
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

/** Brings a repository's model, or one file of it. Throws as `download` does, and `not_found` for a missing repository. */
export async function pullFromHub(request: HubRequest): Promise<StoredFile[]> {
  const hub = await import('@huggingface/hub')
  const hubUrl = (process.env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '')
  const token = await accessToken()
  const ask = { hubUrl, fetch: timed(request), ...(token && { accessToken: token }) }
  const repo = { type: 'model', name: request.repo } as const
  const { revision } = request
  try {
    const { sha } = await hub.modelInfo({ ...ask, name: request.repo, revision, additionalFields: ['sha'] })
    const names = request.file ? [request.file] : chooseFiles(request.repo, await listFiles())
    const infos = await hub.pathsInfo({ ...ask, repo, revision: sha, paths: names.map(checkFileName) })
    const missing = names.filter((name) => !infos.some((info) => info.path === name && info.type === 'file'))
    if (missing.length > 0)
      throw new ForetokenError(
        'not_found',
        `${request.repo} has no file ${missing.join(', ')}; check its page on the hub`,
      )
    const folder = join(cacheFolder(), `models--${request.repo.replace('/', '--')}`)
    const total = infos.reduce((sum, info) => sum + (info.lfs?.size ?? info.size), 0)
    const files: StoredFile[] = []
    let before = 0
    for (const info of infos) {
      const path = checkFileName(info.path)
      const bytes = info.lfs?.size ?? info.size
      const id = checkId(info.lfs?.oid ?? info.oid)
      if (request.sha256 && request.sha256 !== info.lfs?.oid)
        throw new ForetokenError('checksum', `${request.repo}/${path} is another file than the one that is wanted`)
      const pointer = join(folder, 'snapshots', sha, path)
      const blob = join(folder, 'blobs', id)
      if (!(await hasSize(pointer, bytes))) {
        await download({
          url: `${hubUrl}/${request.repo}/resolve/${sha}/${path.split('/').map(encodeURIComponent).join('/')}`,
          target: blob,
          size: bytes,
          ...(info.lfs ? { sha256: id } : { gitOid: id }),
          ...(token && { headers: { authorization: `Bearer ${token}` } }),
          ...pass(request),
          onProgress: (done) => request.onProgress?.(before + done, total),
        })
        await link(blob, pointer)
      }
      before += bytes
      files.push({ name: path, path: pointer, bytes })
    }
    await writeRef(folder, revision, sha)
    return files
  } catch (error) {
    throw hubError(error, request, hubUrl)
  }

  async function listFiles(): Promise<string[]> {
    const found: string[] = []
    for await (const entry of hub.listFiles({ ...ask, repo, revision, recursive: true })) {
      if (entry.type === 'file') found.push(entry.path)
      if (found.length > 10_000)
        throw new ForetokenError('unsupported', `${request.repo} has over 10,000 files; name one: hf:owner/repo/file`)
    }
    return found
  }
}

/** As the hub's own tools choose it. */
function cacheFolder(env = process.env): string {
  const base = env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface')
  return env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(base, 'hub')
}

async function accessToken(env = process.env): Promise<string | undefined> {
  if (env.HF_TOKEN) return env.HF_TOKEN.trim()
  const saved = join(env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface'), 'token')
  const text = (await readFile(saved, 'utf8').catch(() => '')).trim()
  return text.startsWith('hf_') ? text : undefined
}

/** `fetch` that gives up when no answer has begun in time. The hub's questions are small, so that is their whole time. */
function timed({ connectMs = 20_000, signal, fetch: inner = fetch }: HubRequest): typeof fetch {
  return async (input, init) => {
    const timeout = AbortSignal.timeout(connectMs)
    return inner(input, { ...init, signal: AbortSignal.any(signal ? [timeout, signal] : [timeout]) })
  }
}

function pass({ signal, fetch, tries, backoffMs, stallMs, connectMs }: HubRequest) {
  const all = { signal, fetch, tries, backoffMs, stallMs, connectMs }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}

/** A blob's id becomes a file's name. */
function checkId(id: string | undefined): string {
  if (id && /^[0-9a-f]{40}([0-9a-f]{24})?$/.test(id)) return id
  throw new ForetokenError('network', `the hub names a file's content ${JSON.stringify(id)}, which is no hash`)
}

async function hasSize(path: string, bytes: number): Promise<boolean> {
  return stat(path).then(
    (found) => found.size === bytes,
    () => false,
  )
}

/** Makes `pointer` lead to `blob`, in one step. */
async function link(blob: string, pointer: string): Promise<void> {
  try {
    await mkdir(dirname(pointer), { recursive: true })
    const temporary = `${pointer}.${process.pid}.${Math.random().toString(36).slice(2)}`
    await symlink(relative(dirname(pointer), blob), temporary).catch(() => copyFile(blob, temporary))
    await rename(temporary, pointer)
  } catch (error) {
    throw fileError(error, pointer)
  }
}

async function writeRef(folder: string, revision: string, sha: string): Promise<void> {
  if (revision === sha || !/^[\w.-]+$/.test(revision)) return
  const path = join(folder, 'refs', revision)
  await mkdir(dirname(path), { recursive: true })
  const temporary = `${path}.${process.pid}`
  await writeFile(temporary, sha)
  await rename(temporary, path).catch(() => rm(temporary, { force: true }))
}

function hubError(error: unknown, { repo, connectMs, signal }: HubRequest, hubUrl: string): ForetokenError {
  if (error instanceof ForetokenError) return error
  if (signal?.aborted) return new ForetokenError('aborted', 'the download was cancelled', { cause: error })
  const status = (error as { statusCode?: number }).statusCode
  const host = new URL(hubUrl).host
  if (status === 401 || status === 403 || status === 404)
    return new ForetokenError(
      'not_found',
      `${host} has no ${repo} for this user (${status}); check the name, or set HF_TOKEN if it is private or gated`,
      { cause: error },
    )
  if (status !== undefined)
    return new ForetokenError('network', `${host} answered ${status} about ${repo}; try again later`, { cause: error })
  const reason = (error as Error).name === 'TimeoutError' ? `no answer in ${connectMs} ms` : reasonOf(error)
  return new ForetokenError('network', `${host} can't be reached (${reason}); check the network`, { cause: error })
}
