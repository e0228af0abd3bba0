/**
 * What has been pulled. One JSON record for each model, in `$FORETOKEN_HOME/models`, names its files, which lie in
 * the shared Hugging Face cache or in `$FORETOKEN_HOME/files`. A record is written after its files are whole, so a
 * model is either complete or absent.
 */
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { ForetokenError } from '../src/index.ts'
import { fileError } from './disk.ts'

export interface StoredFile {
  /** As the model knows it, relative. */
  readonly name: string
  /** Absolute. */
  readonly path: string
  readonly bytes: number
}

export interface StoredModel {
  readonly name: string
  /** Where it came from, for people: an address, a repository, a package. */
  readonly source: string
  readonly files: readonly StoredFile[]
  /** ISO 8601. */
  readonly pulled: string
}

/** Our own folder: `FORETOKEN_HOME`, or `foretoken` in the user's cache folder. */
export function home(env = process.env): string {
  return env.FORETOKEN_HOME || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'foretoken')
}

/** Where files go that belong to no shared cache. */
export function filesFolder(name: string): string {
  return join(home(), 'files', fileKey(name))
}

/** The record of a complete model, or undefined; a record whose files have gone counts as absent. */
export async function findModel(name: string): Promise<StoredModel | undefined> {
  const model = await readRecord(recordPath(name))
  return model && (await isWhole(model)) ? model : undefined
}

export async function saveModel(model: StoredModel): Promise<void> {
  const path = recordPath(model.name)
  try {
    await mkdir(dirname(path), { recursive: true })
    const temporary = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}`
    await writeFile(temporary, `${JSON.stringify(model, null, 2)}\n`)
    await rename(temporary, path)
  } catch (error) {
    throw fileError(error, path)
  }
}

/** All complete models, by name. */
export async function listModels(): Promise<StoredModel[]> {
  const folder = join(home(), 'models')
  const names = await readdir(folder).catch(() => [])
  const records = await Promise.all(names.filter((n) => n.endsWith('.json')).map((n) => readRecord(join(folder, n))))
  const found: StoredModel[] = []
  for (const model of records) if (model && (await isWhole(model))) found.push(model)
  return found.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Removes a model's files, but those that another model has, too, and its record. Returns bytes freed. Throws `not_found`, `io`. */
export async function removeModel(name: string): Promise<number> {
  const path = recordPath(name)
  const model = await readRecord(path)
  if (!model)
    throw new ForetokenError('not_found', `no model "${name}" has been pulled; "foretoken ls" lists those that have`)
  const others = (await listModels()).filter((other) => other.name !== model.name)
  const shared = new Set(others.flatMap((other) => other.files.map((file) => file.path)))
  let freed = 0
  try {
    // The record first: what is half removed must not be found.
    await rm(path, { force: true })
    for (const file of model.files) {
      if (shared.has(file.path)) continue
      const blob = await realpath(file.path).catch(() => file.path)
      await rm(file.path, { force: true })
      await rm(blob, { force: true })
      freed += file.bytes
    }
    await rm(filesFolder(name), { recursive: true, force: true })
  } catch (error) {
    throw fileError(error, `removing ${name}`)
  }
  return freed
}

/** Which source of a model worked last, so that it is tried first. */
export async function rememberedSource(name: string): Promise<string | undefined> {
  const known = await readFile(join(home(), 'sources.json'), 'utf8').then(JSON.parse, () => ({}))
  return typeof known?.[name] === 'string' ? known[name] : undefined
}

export async function rememberSource(name: string, source: string): Promise<void> {
  const path = join(home(), 'sources.json')
  const known = await readFile(path, 'utf8').then(JSON.parse, () => ({}))
  // Only a hint: a failure to keep it is no failure of the pull.
  await writeFile(path, JSON.stringify({ ...known, [name]: source })).catch(() => {})
}

function recordPath(name: string): string {
  return join(home(), 'models', `${fileKey(name)}.json`)
}

/** A name that may become a file's: readable, and distinct by its hash. */
function fileKey(name: string): string {
  const readable = name.replace(/[^\w.-]+/g, '-').slice(0, 80)
  return /^[\w-][\w.-]*$/.test(name) && name.length <= 80
    ? name
    : `${readable}-${createHash('sha256').update(name).digest('hex').slice(0, 12)}`
}

async function readRecord(path: string): Promise<StoredModel | undefined> {
  try {
    const model = JSON.parse(await readFile(path, 'utf8'))
    const sound =
      typeof model.name === 'string' &&
      Array.isArray(model.files) &&
      model.files.every((f: StoredFile) => typeof f.name === 'string' && typeof f.path === 'string')
    return sound ? model : undefined
  } catch {
    return undefined
  }
}

async function isWhole(model: StoredModel): Promise<boolean> {
  const sizes = await Promise.all(
    model.files.map((file) =>
      stat(file.path).then(
        (found) => found.size,
        () => -1,
      ),
    ),
  )
  return model.files.length > 0 && sizes.every((size, n) => size === model.files[n]!.bytes)
}
