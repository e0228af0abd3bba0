/** Removes the configuration keys that a caller wants to ignore from a model's files. */
import { ForetokenError } from '../base/errors.ts'
import { isObject, type Json, show } from './json.ts'

/** Maximum number of keys to ignore. */
const mostKeys = 256

/** Returns the ignored keys as a set. Throws `bad_argument` for anything but a list of texts. */
export function ignoredKeysOf(keys: readonly string[] = []): ReadonlySet<string> {
  if (!Array.isArray(keys) || keys.length > mostKeys || !keys.every((key) => typeof key === 'string' && key !== ''))
    throw new ForetokenError(
      'bad_argument',
      `ignoreConfig is ${show(keys)}; it takes at most ${mostKeys} names of keys, such as ['new_key', 'rope_scaling.new_key']`,
    )
  return new Set(keys)
}

/**
 * Returns a config.json without the ignored keys, where `rope_scaling.factor` means the key
 * `factor` of the object `rope_scaling`. `warnings` names the keys that were present.
 */
export function withoutKeys(
  json: Json,
  ignored: ReadonlySet<string>,
  where: string,
): { json: Json; warnings: string[] } {
  if (ignored.size === 0) return { json, warnings: [] }
  const found: string[] = []
  const kept = (object: Json, path: string, depth: number): Json => {
    const entries: [string, unknown][] = []
    for (const [key, value] of Object.entries(object)) {
      const name = path + key
      if (ignored.has(name)) found.push(name)
      else entries.push([key, depth > 0 && isObject(value) ? kept(value, `${name}.`, depth - 1) : value])
    }
    return Object.fromEntries(entries)
  }
  return { json: kept(json, '', 1), warnings: ignoredWarning(found, where) }
}

/** Returns a GGUF's metadata without the ignored keys that begin with `prefix`. */
export function withoutMetadata<T>(
  metadata: ReadonlyMap<string, T>,
  prefix: string,
  ignored: ReadonlySet<string>,
  where: string,
): { metadata: ReadonlyMap<string, T>; warnings: string[] } {
  const found = [...ignored].filter((key) => key.startsWith(prefix) && metadata.has(key))
  if (found.length === 0) return { metadata, warnings: [] }
  const kept = new Map(metadata)
  for (const key of found) kept.delete(key)
  return { metadata: kept, warnings: ignoredWarning(found, where) }
}

function ignoredWarning(found: readonly string[], where: string): string[] {
  if (found.length === 0) return []
  return [`${where}: ${found.map(show).join(', ')} ignored, as asked: the model runs as if the file did not say so`]
}
