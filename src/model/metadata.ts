/** Typed look-ups in a GGUF's metadata; each failure names the key and what it holds. */
import { ForetokenError } from '../errors.ts'
import type { GgufValue } from './gguf.ts'

export class MetadataReader {
  readonly where: string
  readonly #values: ReadonlyMap<string, GgufValue>

  constructor(values: ReadonlyMap<string, GgufValue>, where: string) {
    this.#values = values
    this.where = where
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

  texts(key: string): readonly string[] {
    const value = this.#values.get(key)
    if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value
    throw this.#bad(key, value === undefined ? 'is missing' : `is ${kind(value)}, not a list of texts`)
  }

  optionalNumbers(key: string): readonly number[] | undefined {
    const value = this.#values.get(key)
    if (value === undefined) return undefined
    if (Array.isArray(value) && value.every((item) => typeof item === 'number')) return value
    throw this.#bad(key, `is ${kind(value)}, not a list of numbers`)
  }

  #bad(key: string, what: string): ForetokenError {
    return new ForetokenError('bad_model', `${this.where}: metadata ${key} ${what}`)
  }
}

function kind(value: GgufValue): string {
  return Array.isArray(value) ? `a list of ${value.length}` : typeof value
}
