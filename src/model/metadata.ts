/** Typed look-ups in a GGUF's metadata; each failure names the key and what it holds. */
import { ForetokenError } from '../base/errors.ts'
import type { PackedTexts } from '../base/model.ts'
import type { GgufList, GgufValue } from './gguf-values.ts'

export class MetadataReader {
  readonly where: string
  readonly #values: ReadonlyMap<string, GgufValue>

  constructor(values: ReadonlyMap<string, GgufValue>, where: string) {
    this.#values = values
    this.where = where
  }

  get keys(): Iterable<string> {
    return this.#values.keys()
  }

  /** Returns the value of a key, whatever its type. */
  value(key: string): GgufValue | undefined {
    return this.#values.get(key)
  }

  number(key: string): number {
    const value = this.optionalNumber(key)
    if (value === undefined) throw this.#bad(key, 'is missing')
    return value
  }

  optionalNumber(key: string): number | undefined {
    const value = this.#values.get(key)
    if (value === undefined || typeof value === 'number') return value
    throw this.#bad(key, `is ${kind(value)}, not a number`)
  }

  text(key: string): string {
    const value = this.optionalText(key)
    if (value === undefined) throw this.#bad(key, 'is missing')
    return value
  }

  optionalText(key: string): string | undefined {
    const value = this.#values.get(key)
    if (value === undefined || typeof value === 'string') return value
    throw this.#bad(key, `is ${kind(value)}, not a text`)
  }

  optionalFlag(key: string): boolean | undefined {
    const value = this.#values.get(key)
    if (value === undefined || typeof value === 'boolean') return value
    throw this.#bad(key, `is ${kind(value)}, not true or false`)
  }

  /** Returns the number of entries of a list without reading it; undefined if it is absent. */
  count(key: string): number | undefined {
    return this.#list(key)?.count
  }

  /** Reads a list of at most `most` texts of at most `bytes` bytes each. */
  async texts(key: string, most: number, bytes: number): Promise<PackedTexts> {
    const texts = await this.#list(key, most)?.texts(bytes)
    if (texts) return texts
    const value = this.#values.get(key)
    throw this.#bad(key, value === undefined ? 'is missing' : `is ${kind(value)}, not a list of texts`)
  }

  /** Reads a list of at most `most` numbers. */
  async optionalNumbers(key: string, most: number): Promise<ArrayLike<number> | undefined> {
    const value = this.#values.get(key)
    if (value === undefined) return undefined
    const numbers = await this.#list(key, most)?.numbers()
    if (numbers) return numbers
    throw this.#bad(key, `is ${kind(value)}, not a list of numbers`)
  }

  #list(key: string, most = Number.POSITIVE_INFINITY): GgufList | undefined {
    const value = this.#values.get(key)
    if (typeof value !== 'object') return undefined
    if (value.count > most) throw this.#bad(key, `has ${value.count} entries; at most ${most} are read`)
    return value
  }

  #bad(key: string, what: string): ForetokenError {
    return new ForetokenError('bad_model', `${this.where}: metadata ${key} ${what}`)
  }
}

function kind(value: GgufValue): string {
  return typeof value === 'object' ? `a list of ${value.count}` : typeof value
}
