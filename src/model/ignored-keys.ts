/** Removes the configuration keys that a caller wants to ignore from a model's files. */
import { ForetokenError } from '../base/errors.ts'
import type { ModelArchive } from '../base/model.ts'
import { isObject, type Json, show } from './json.ts'

/** Maximum number of keys to ignore. */
const mostKeys = 256

/** Returns the ignored keys as a set. Throws `bad_argument` for anything but a list of texts. */
export function ignoredKeysOf(keys: readonly string[] = []): ReadonlySet<string> {
  if (!Array.isArray(keys) || keys.length > mostKeys || !keys.every((key) => typeof key === 'string' && key !== ''))
    throw new ForetokenError(
      'bad_argument',
      `ignoreConfig ${Array.isArray(keys) && keys.length <= mostKeys ? `has ${show(keys.find((key) => typeof key !== 'string' || key === ''))}` : `is ${show(keys)}`}; it takes at most ${mostKeys} names of keys, such as ['new_key', 'rope_scaling.new_key']`,
    )
  return new Set(keys)
}

/** A name that a caller wants to ignore, and the key of the file that it means. */
interface Found {
  readonly name: string
  readonly key: string
}

/**
 * Returns the keys of a config.json that names mean: `rope_scaling.factor` is the key `factor` of the
 * object `rope_scaling`, and so is `factor` alone if no other object has one.
 */
export function keysOfJson(json: Json, ignored: ReadonlySet<string>): Found[] {
  const inner = Object.keys(json).flatMap((outer) => {
    const value = json[outer]
    return isObject(value) ? Object.keys(value).map((key) => ({ key, path: `${outer}.${key}` })) : []
  })
  return [...ignored].flatMap((name) => {
    if (Object.hasOwn(json, name) || inner.some(({ path }) => path === name)) return [{ name, key: name }]
    const [only, ...more] = inner.filter(({ key }) => key === name)
    return only && more.length === 0 ? [{ name, key: only.path }] : []
  })
}

/** Returns the keys of a GGUF that names mean, with its architecture and a dot, `prefix`, or without. */
export function keysOfMetadata(
  metadata: ReadonlyMap<string, unknown>,
  prefix: string,
  ignored: ReadonlySet<string>,
): Found[] {
  return [...ignored].flatMap((name) => {
    const key = [name, prefix + name].find((key) => key.startsWith(prefix) && metadata.has(key))
    return key === undefined ? [] : [{ name, key }]
  })
}

/** Returns a config.json without keys. */
export function withoutKeys(json: Json, keys: ReadonlySet<string>): Json {
  const kept = (object: Json, path: string, depth: number): Json => {
    const entries = Object.entries(object).filter(([key]) => !keys.has(path + key))
    const inside = (key: string, value: unknown) =>
      depth > 0 && isObject(value) ? kept(value, `${path}${key}.`, depth - 1) : value
    return Object.fromEntries(entries.map(([key, value]) => [key, inside(key, value)]))
  }
  return keys.size === 0 ? json : kept(json, '', 1)
}

/** Returns a GGUF's metadata without keys. */
export function withoutMetadata<T>(
  metadata: ReadonlyMap<string, T>,
  keys: ReadonlySet<string>,
): ReadonlyMap<string, T> {
  return keys.size === 0 ? metadata : new Map([...metadata].filter(([key]) => !keys.has(key)))
}

/**
 * Tells which ignored keys had to be. `read` reads the configuration without the keys of a set: a key
 * is refused if that fails where it alone stays.
 */
export async function ignoring(
  ignored: ReadonlySet<string>,
  found: readonly Found[],
  read: (keys: ReadonlySet<string>) => unknown,
): Promise<Pick<ModelArchive, 'ignored'>> {
  if (ignored.size === 0) return {}
  const refused: Found[] = []
  for (const one of found) {
    const others = new Set(found.filter(({ key }) => key !== one.key).map(({ key }) => key))
    const isRead = await Promise.resolve(others)
      .then(read)
      .then(
        () => true,
        () => false,
      )
    if (!isRead) refused.push(one)
  }
  const needless = [...ignored].filter((name) => !refused.some((one) => one.name === name))
  return { ignored: { refused: refused.map(({ key }) => key), needless } }
}

/** Returns a warning that names ignored keys. */
export function ignoredWarning(found: readonly Found[], where: string): string[] {
  if (found.length === 0) return []
  const keys = found.map(({ key }) => show(key)).join(', ')
  return [`${where}: ${keys} ignored, as asked: the model runs as if the file did not say so`]
}
