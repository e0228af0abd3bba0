/**
 * Pulls models from the Hugging Face hub into the cache that its other tools share: files that they
 * have pulled are used, and they find what is pulled here.
 *
 * `@huggingface/hub` lists a repository and its hashes. The bytes are fetched by `download.ts`,
 * since the package's own transfer neither resumes nor checks.
 */
import { copyFile, mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { ForetokenError, isWhole } from '../src/index.ts'
import { fileError } from './disk.ts'
import { type DownloadRequest, download } from './download.ts'
import { type Expected, mismatch } from './hash.ts'
import { httpFetch } from './http.ts'
import { chooseFiles } from './hub-files.ts'
import { checkFileName, pathInside, safePath } from './paths.ts'
import type { Environment } from './proxy.ts'
import { hubCache, type StoredFile } from './store.ts'
import { reasonOf } from './transfer.ts'

export interface HubRequest
  extends Pick<DownloadRequest, 'signal' | 'fetch' | 'tries' | 'backoffMs' | 'stallMs' | 'onWait'> {
  readonly repo: string
  readonly revision: string
  readonly file?: string
  /** Milliseconds until the hub's first answer. Default 20,000. */
  readonly connectMs?: number
  /** The expected hash of the model's only file. */
  readonly sha256?: string
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

/**
 * Downloads a repository's model, or one file of it. Throws as `download` does, and `not_found` for
 * a missing repository.
 */
export async function pullFromHub(request: HubRequest): Promise<StoredFile[]> {
  const hub = await import('@huggingface/hub')
  const hubUrl = hubEndpoint()
  const token = await accessToken()
  const ask = { hubUrl, fetch: bounded(request), ...(token && { accessToken: token }) }
  const repo = { type: 'model', name: request.repo } as const
  const { revision } = request
  try {
    const { sha } = await hub.modelInfo({ ...ask, name: request.repo, revision, additionalFields: ['sha'] })
    const commit = checkCommit(sha)
    const names = request.file ? [request.file] : chooseFiles(request.repo, await listFiles(commit))
    const infos = await hub.pathsInfo({ ...ask, repo, revision: commit, paths: names.map(checkFileName) })
    const entries = names.flatMap((name) => infos.find((info) => info.path === name && info.type === 'file') ?? [])
    const missing = names.filter((name) => !entries.some(({ path }) => path === name))
    if (missing.length > 0)
      throw new ForetokenError(
        'not_found',
        `${request.repo} has no file ${missing.join(', ')}; check its page on the hub`,
      )
    const folder = pathInside(hubCache(), `models--${request.repo.replace('/', '--')}`)
    const files = await fetchFiles({ hubUrl, token, folder, commit, request }, entries.map(checkEntry))
    await writeRef(folder, revision, commit)
    return files
  } catch (error) {
    throw hubError(error, request, hubUrl)
  }

  async function listFiles(commit: string): Promise<string[]> {
    const found: string[] = []
    let entries = 0
    for await (const entry of hub.listFiles({ ...ask, repo, revision: commit, recursive: true })) {
      if (entry.type === 'file') found.push(entry.path)
      if (++entries > 10_000)
        throw new ForetokenError('unsupported', `${request.repo} has over 10,000 files; name one: hf:owner/repo/file`)
    }
    return found
  }
}

interface Snapshot {
  readonly hubUrl: string
  readonly token: string | undefined
  /** The repository's folder in the cache. */
  readonly folder: string
  readonly commit: string
  readonly request: HubRequest
}

/** Downloads the files of a commit that are not in the cache yet. */
async function fetchFiles(snapshot: Snapshot, wanted: readonly HubFile[]): Promise<StoredFile[]> {
  const { hubUrl, token, folder, commit, request } = snapshot
  const total = wanted.reduce((sum, { bytes }) => sum + bytes, 0)
  const files: StoredFile[] = []
  let before = 0
  for (const { path, bytes, id, expected } of wanted) {
    if (request.sha256 && request.sha256 !== expected.sha256)
      throw new ForetokenError('checksum', `${request.repo}/${path} is not the file that is expected`)
    const pointer = await safePath(folder, 'snapshots', commit, path)
    if ((await mismatch(expected, pointer).catch(() => 'nothing is there')) !== undefined) {
      const blob = await safePath(folder, 'blobs', id)
      const done = before
      await download({
        url: `${hubUrl}/${request.repo}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`,
        target: blob,
        ...expected,
        ...(token && { headers: { authorization: `Bearer ${token}` } }),
        ...pass(request),
        onProgress: (bytes) => request.onProgress?.(done + bytes, total),
      })
      await link(blob, pointer)
    }
    before += bytes
    files.push({ name: path, path: pointer, bytes, hash: `${expected.sha256 ? 'sha256' : 'git'}:${id}` })
  }
  return files
}

/** Returns `HF_ENDPOINT` without trailing slashes. Throws `bad_argument`. */
export function hubEndpoint(env: Environment = process.env): string {
  const text = (env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '')
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text
  throw new ForetokenError(
    'bad_argument',
    `HF_ENDPOINT must be an address such as https://huggingface.co, not "${text}"`,
  )
}

async function accessToken(env = process.env): Promise<string | undefined> {
  if (env.HF_TOKEN) return env.HF_TOKEN.trim()
  const saved = join(env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface'), 'token')
  const text = (await readFile(saved, 'utf8').catch(() => '')).trim()
  return text.startsWith('hf_') ? text : undefined
}

/** Maximum bytes of an answer of the hub that is not a file. A listing of 10,000 files has 4 MB. */
const maxAnswer = 32e6

/**
 * Returns a `fetch` that gives up when an answer does not come in time, or does not end. Answers
 * about files are small, so the limit covers their whole time.
 */
function bounded({ connectMs = 20_000, signal, fetch = httpFetch }: HubRequest): typeof fetch {
  return async (input, init) => {
    const timeout = AbortSignal.timeout(connectMs)
    const response = await fetch(input, { ...init, signal: AbortSignal.any(signal ? [timeout, signal] : [timeout]) })
    if (!response.body) return response
    let bytes = 0
    const counted = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, out) {
        bytes += chunk.length
        if (bytes <= maxAnswer) out.enqueue(chunk)
        else out.error(new ForetokenError('network', `the hub's answer has more than ${maxAnswer} bytes`))
      },
    })
    const { status, statusText, headers } = response
    return new Response(response.body.pipeThrough(counted), { status, statusText, headers: [...headers] })
  }
}

function pass({ signal, fetch, tries, backoffMs, stallMs, connectMs, onWait }: HubRequest) {
  const all = { signal, fetch, tries, backoffMs, stallMs, connectMs, onWait }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}

/** Checks the hash of a commit, because it becomes the name of a folder. */
function checkCommit(sha: unknown): string {
  if (typeof sha === 'string' && /^[0-9a-f]{40}$/.test(sha)) return sha
  throw new ForetokenError('network', `the hub gave the commit ${shown(sha)}, which is not 40 hex digits`)
}

/** A checked entry. `id` is its hash, the name of its blob. */
interface HubFile {
  readonly path: string
  readonly bytes: number
  readonly id: string
  readonly expected: Expected
}

/** An entry of the hub's listing, not checked yet. */
interface Entry {
  readonly path: string
  readonly size: unknown
  readonly oid?: unknown
  readonly lfs?: { readonly size: unknown; readonly oid: unknown } | undefined
}

/** Checks an entry of the hub's listing, because its hash becomes the name of a file. */
function checkEntry({ path, size, oid, lfs }: Entry): HubFile {
  const [bytes, id] = lfs ? [lfs.size, lfs.oid] : [size, oid]
  if (typeof id !== 'string' || !(lfs ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(id))
    throw new ForetokenError('network', `the hub gave a file's hash as ${shown(id)}, which is not a hash`)
  if (!isWhole(bytes)) throw new ForetokenError('network', `the hub says that ${shown(path)} has ${shown(bytes)} bytes`)
  return { path: checkFileName(path), bytes, id, expected: { size: bytes, [lfs ? 'sha256' : 'gitOid']: id } }
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? 'undefined').slice(0, 100)
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

/** Records the commit of a branch or tag for the hub's other tools. This is a convenience only. */
async function writeRef(folder: string, revision: string, commit: string): Promise<void> {
  if (revision === commit) return
  const path = await safePath(folder, 'refs', revision)
  const temporary = `${path}.${process.pid}`
  try {
    await mkdir(dirname(path), { recursive: true })
    await writeFile(temporary, commit)
    await rename(temporary, path)
  } catch {
    await rm(temporary, { force: true })
  }
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
