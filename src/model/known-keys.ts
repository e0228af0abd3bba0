/**
 * Checks every key of a model's configuration: it is honoured, known to be harmless, or refused by
 * its name. `ignored-keys.ts` takes out the keys that a caller answers for.
 */
import { ForetokenError } from '../base/errors.ts'
import { neutralInGguf, silentInGguf } from './gguf-key-rules.ts'
import { isObject, type Json, show } from './json.ts'
import { type KeyRules, words } from './key-rules.ts'
import type { ModelShape, Neutral } from './neutral.ts'

/**
 * Keys within `rope_scaling` and `rope_parameters` that are honoured, or read for scalings only
 * that are refused themselves.
 */
const ropeKeys = words([
  'factor high_freq_factor low_freq_factor original_max_position_embeddings partial_rotary_factor attention_factor rope_theta',
  'rope_type type beta_fast beta_slow finetuned long_factor long_mscale mscale mscale_all_dim short_factor short_mscale truncate',
])

/**
 * Throws `unsupported` for a key of a config.json that changes the computation, and for one that is
 * not known.
 */
export function checkKeys(json: Json, { silent, neutral }: KeyRules, model: ModelShape, where: string): void {
  const refused = new RefusedKeys(model, where)
  for (const [key, value] of Object.entries(json)) {
    if (value === null || silent.has(key)) continue
    refused.check(key, value, Object.hasOwn(neutral, key) ? neutral[key] : undefined)
  }
  for (const name of ['rope_scaling', 'rope_parameters']) {
    const scaling = json[name]
    if (!isObject(scaling)) continue
    // Scalings that differ by layers hold objects, and are refused as such.
    for (const [key, value] of Object.entries(scaling))
      if (value !== null && !isObject(value) && !ropeKeys.has(key)) refused.check(`${name}.${key}`, value, undefined)
  }
  refused.throwIfAny()
}

/**
 * Does what `checkKeys` does for the keys of a GGUF that begin with `prefix`, its architecture and
 * a dot. `value` gives a number, flag or text, and an object for a list. The family honours the keys
 * in `honoured` itself.
 */
export function checkGgufKeys(
  keys: Iterable<string>,
  prefix: string,
  value: (key: string) => unknown,
  model: ModelShape,
  where: string,
  honoured: ReadonlySet<string> = new Set(),
): void {
  const refused = new RefusedKeys(model, where)
  for (const key of keys) {
    if (!key.startsWith(prefix)) continue
    const name = key.slice(prefix.length)
    if (silentInGguf.has(name) || honoured.has(name)) continue
    refused.check(key, value(key), Object.hasOwn(neutralInGguf, name) ? neutralInGguf[name] : undefined)
  }
  refused.throwIfAny()
}

/** Collects the keys of a file that are refused, so that one message names them all. */
class RefusedKeys {
  readonly #model: ModelShape
  readonly #where: string
  readonly #refused: { readonly key: string; readonly text: string }[] = []

  constructor(model: ModelShape, where: string) {
    this.#model = model
    this.#where = where
  }

  /** `rule` is undefined for a key that is not known. */
  check(key: string, value: unknown, rule: Neutral | undefined): void {
    if (rule?.(value, this.#model)) return
    this.#refused.push({ key, text: `${printable(key)} is ${show(value)}${rule ? '' : ' (an unknown key)'}` })
  }

  /** Throws `unsupported`. */
  throwIfAny(): void {
    const refused = this.#refused
    if (refused.length === 0) return
    const named = refused.slice(0, 8)
    const more = refused.length > named.length ? ` and ${refused.length - named.length} more keys` : ''
    const alone = refused.length === 1
    throw new ForetokenError(
      'unsupported',
      `${this.#where}: ${named.map(({ text }) => text).join(', ')}${more}: ${alone ? 'this changes' : 'these change'} ` +
        `the computation of a ${this.#model.architecture} model, and ${alone ? 'is' : 'are'} not run; to run the model as if the ` +
        `file did not say so, load with ${named.map(({ key }) => `--ignore-config ${printable(key)}`).join(' ')} (option ignoreConfig)`,
    )
  }
}

/** Returns a key as it may appear in a message: quoted if it has more than letters and the like. */
function printable(key: string): string {
  return /^[\w.-]{1,80}$/.test(key) ? key : show(key)
}
