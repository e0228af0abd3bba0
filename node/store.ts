/**
 * Records of pulled models. One JSON record for each model, in `$FORETOKEN_HOME/models`, names its
 * files, which lie in the shared Hugging Face cache or in `$FORETOKEN_HOME/files`. A record is
 * written after its files are complete, so a model is either complete or absent.
 *
 * Other programs write into these folders, too, and anybody may have written a record, so a record
 * is checked before it is believed. A file counts if it still has the hash of what was pulled,
 * which is computed again whenever the file has changed. Nothing is removed outside the two
 * folders.
 */
import { lstat, mkdir, readdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { Callback, ForetokenError, isWhole } from '../src/index.ts'
import { fileError } from './disk.ts'
import { type Expected, hashFile, mismatch, sha256Of } from './hash.ts'
import { home } from './home.ts'
import { type Place, placeInside } from './paths.ts'
import type { Environment } from './proxy.ts'

export interface StoredFile {
  /** The relative name by which the model refers to the file. */
  readonly name: string
  /** Absolute path. */
  readonly path: string
  readonly bytes: number
  /**
   * The hash of what was pulled: `sha256:` or `git:` (the id that git gives a file's content) and
   * hex digits.
   */
  readonly hash?: string
  /** Size, inode and times of the file when it had this hash. */
  readonly seen?: string
}

export interface StoredModel {
  readonly name: string
  /** The source, for people: an address, a repository, a package. */
  readonly source: string
  readonly files: readonly StoredFile[]
  /** ISO 8601. */
  readonly pulled: string
}

/** Returns the Hugging Face cache, chosen as the hub's own tools choose it. */
export function hubCache(env: Environment = process.env): string {
  const base = env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface')
  return resolve(env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(base, 'hub'))
}

/** Returns the folder of files that belong to no shared cache. */
export function filesFolder(name: string): string {
  return join(home(), 'files', fileKey(name))
}

/**
 * Returns the record of a complete model, or undefined. A record whose files are gone, or hold
 * other bytes, counts as absent. `pinned` is the hash that the only file must have, whatever the
 * record says.
 */
export async function findModel(name: string, pinned?: { readonly sha256: string }): Promise<StoredModel | undefined> {
  const model = await readRecord(recordPath(name))
  if (!model || model.name !== name || model.files.length === 0) return undefined
  if (pinned && model.files.length !== 1) return undefined
  const files: StoredFile[] = []
  for (const file of model.files) {
    const right = await verified(file, pinned && `sha256:${pinned.sha256}`).catch(() => undefined)
    if (!right) return undefined
    files.push(right)
  }
  const checked = { ...model, files }
  // If this fails, the files are hashed again next time.
  if (files.some((file, index) => file !== model.files[index])) await saveModel(checked).catch(() => {})
  return checked
}

/** Records a model whose files were just verified. */
export async function saveModel(model: StoredModel): Promise<void> {
  const path = recordPath(model.name)
  try {
    const files = await Promise.all(
      model.files.map(async (file) => ({ ...file, seen: file.seen ?? (await signOf(file.path)) })),
    )
    await mkdir(dirname(path), { recursive: true })
    await writeOver(path, `${JSON.stringify({ ...model, files }, null, 2)}\n`)
  } catch (error) {
    throw fileError(error, path)
  }
}

/** Returns all models whose files exist, sorted by name. */
export async function listModels(): Promise<StoredModel[]> {
  const found: StoredModel[] = []
  for (const model of await readRecords()) {
    const present = await Promise.all(model.files.map(async (file) => (await sizeOf(file)) === file.bytes))
    if (present.length > 0 && present.every(Boolean)) found.push(model)
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/**
 * Removes a model's record, and its files except those that another model shares. Only files in the
 * model's own folder of the two caches are removed; `onLeft` is called with every other path in the
 * record. Returns the number of bytes freed. Throws `not_found`, `io`.
 */
export async function removeModel(name: string, onLeft?: (path: string) => void): Promise<number> {
  const path = recordPath(name)
  const model = await readRecord(path)
  if (!model || model.name !== name)
    throw new ForetokenError('not_found', `no model "${name}" has been pulled; "foretoken ls" lists those that have`)
  const others = (await readRecords()).filter((other) => other.name !== name).flatMap((other) => other.files)
  const shared = new Set(await Promise.all(others.map((file) => realpath(file.path).catch(() => file.path))))
  const leftCallback = new Callback('onLeft', onLeft)
  let freed = 0
  try {
    // The record goes first, so that a half-removed model is not found.
    await rm(path, { force: true })
    for (const file of model.files) {
      const bytes = await removeFile(name, file.path, shared)
      if (bytes === undefined) leftCallback.call(file.path)
      else freed += bytes
    }
    // A link in its place is removed, not its target.
    await rm(filesFolder(name), { recursive: true, force: true })
  } catch (error) {
    throw fileError(error, `removing ${name}`)
  }
  await leftCallback.settle()
  return freed
}

/** Returns the source of a model that worked last, which is tried first. */
export async function rememberedSource(name: string): Promise<string | undefined> {
  return (await readSources()).get(name)
}

export async function rememberSource(name: string, source: string): Promise<void> {
  const known = (await readSources()).set(name, source)
  // This is only a hint, so a failure to write it does not fail the pull.
  await writeOver(join(home(), 'sources.json'), JSON.stringify(Object.fromEntries(known))).catch(() => {})
}

async function readSources(): Promise<Map<string, string>> {
  const known: unknown = await readFile(join(home(), 'sources.json'), 'utf8')
    .then(JSON.parse)
    .catch(() => undefined)
  const all = typeof known === 'object' && known !== null ? Object.entries(known) : []
  return new Map(all.filter((entry): entry is [string, string] => typeof entry[1] === 'string').slice(0, 1000))
}

/**
 * Returns the file as it is now if it holds what was pulled, and the same object if nothing has
 * changed. Throws if it cannot be read.
 */
async function verified(file: StoredFile, pinned: string | undefined): Promise<StoredFile | undefined> {
  const place = await placeOf(file.path)
  const sign = await signOf(file.path)
  const hash = pinned ?? file.hash ?? (await blobHash(file.path))
  if (!place || Number(sign.split(' ')[0]) !== file.bytes) return undefined
  if (hash !== undefined && hash === file.hash && sign === file.seen) return file
  // Links may lead anywhere if their target has the right hash.
  if (hash === undefined && place.target === undefined) return undefined
  // A record of an earlier version has no hash; the file counts as it is from now on.
  if (hash === undefined) return { ...file, hash: `sha256:${await hashFile(file.path)}`, seen: sign }
  const wrong = await mismatch({ size: file.bytes, ...expectedOf(hash) }, file.path)
  return wrong === undefined ? { ...file, hash, seen: sign } : undefined
}

function expectedOf(hash: string): Expected {
  const [kind, digits] = hash.split(':')
  return kind === 'git' ? { gitOid: digits } : { sha256: digits }
}

/** Returns the hash from the name of a blob in the hub's cache. */
async function blobHash(path: string): Promise<string | undefined> {
  const blob = await realpath(path)
  if (basename(dirname(blob)) !== 'blobs') return undefined
  const id = basename(blob)
  if (/^[0-9a-f]{64}$/.test(id)) return `sha256:${id}`
  return /^[0-9a-f]{40}$/.test(id) ? `git:${id}` : undefined
}

/**
 * Returns a text that changes when the file changes. Nobody can set its last part, the change time,
 * back.
 */
async function signOf(path: string): Promise<string> {
  const found = await stat(path, { bigint: true })
  return found.isFile() ? `${found.size} ${found.ino} ${found.mtimeNs} ${found.ctimeNs}` : 'no file'
}

async function sizeOf({ path }: StoredFile): Promise<number> {
  const found = (await placeOf(path)) && (await stat(path).catch(() => undefined))
  return found?.isFile() ? found.size : -1
}

async function placeOf(path: string): Promise<Place | undefined> {
  return (await placeInside(join(home(), 'files'), path)) ?? placeInside(hubCache(), path)
}

/** Matches a file in the hub's cache. Its first part is the folder of the repository. */
const snapshot = /^(models--[\w.-]+)\/snapshots\/[0-9a-f]{40}\//

/**
 * Removes a file of a model, and the blob that only it links to. Returns the number of bytes freed;
 * undefined if it does not lie in a folder of the model.
 */
async function removeFile(name: string, path: string, shared: ReadonlySet<string>): Promise<number | undefined> {
  const local = await placeInside(join(home(), 'files'), path)
  const place = local ?? (await placeInside(hubCache(), path))
  if (!place?.link) return undefined
  const below = (text: string) => relative(place.root, text).split(sep).join('/')
  const repository = local ? undefined : snapshot.exec(below(place.link))?.[1]
  // The folder in which it really lies, and the one that the path names.
  const folder = local ? fileKey(name) : repository
  if (folder === undefined || !below(place.link).startsWith(`${folder}/`) || !path.split(sep).includes(folder))
    return undefined
  const found = await lstat(place.link).catch(() => undefined)
  if (!found) return 0
  if (found.isFile()) {
    if (shared.has(place.link)) return 0
    await rm(place.link, { force: true })
    return found.size
  }
  if (!found.isSymbolicLink()) return undefined
  await rm(place.link, { force: true })
  const blob = place.target
  if (!blob || repository === undefined || !below(blob).startsWith(`${repository}/blobs/`)) return 0
  if (shared.has(blob) || (await isLinked(join(place.root, repository, 'snapshots'), blob))) return 0
  const { size } = await stat(blob)
  await rm(blob, { force: true })
  return size
}

/** Returns true if another revision of a repository has the blob, too. */
async function isLinked(snapshots: string, blob: string): Promise<boolean> {
  const names = await readdir(snapshots, { recursive: true }).catch(() => [])
  for (const name of names) if ((await realpath(join(snapshots, name)).catch(() => undefined)) === blob) return true
  return false
}

function recordPath(name: string): string {
  return join(home(), 'models', `${fileKey(name)}.json`)
}

/** Returns a readable file name for a model, made distinct by a hash. */
function fileKey(name: string): string {
  if (/^[a-z0-9_-][a-z0-9_.-]{0,79}(?<!\.)$/.test(name) && !/^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/.test(name))
    return name
  const readable = name.replace(/[^\w.-]+/g, '-').slice(0, 80)
  return `${readable}-${sha256Of(name).slice(0, 12)}`
}

async function readRecords(): Promise<StoredModel[]> {
  const folder = join(home(), 'models')
  const names = await readdir(folder).catch(() => [])
  const records = await Promise.all(names.filter((n) => n.endsWith('.json')).map((n) => readRecord(join(folder, n))))
  return records.filter((record) => record !== undefined)
}

async function readRecord(path: string): Promise<StoredModel | undefined> {
  try {
    const model = JSON.parse(await readFile(path, 'utf8'))
    const text = (value: unknown) => typeof value === 'string'
    const sound =
      [model.name, model.source, model.pulled].every(text) &&
      Array.isArray(model.files) &&
      model.files.every(({ name, path, bytes, hash, seen }: StoredFile) => {
        const optional = [hash, seen].every((value) => value === undefined || text(value))
        return text(name) && text(path) && isWhole(bytes) && optional
      })
    return sound ? model : undefined
  } catch {
    return undefined
  }
}

/** Writes to a temporary file first, so a reader gets either the old or the new text. */
async function writeOver(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.${crypto.randomUUID().slice(0, 8)}`
  try {
    await writeFile(temporary, text)
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}
