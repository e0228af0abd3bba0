/**
 * Seeds: any whole number of 64 bits. Clients draw theirs from all of them, and a number of JavaScript holds only 53 bits, so that a seed
 * beyond them is a bigint.
 */
import { withArguments } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'

/** A safe integer, or a bigint from -2^63 to 2^63 - 1. A bigint and the number of the same value are the same seed. */
export type Seed = number | bigint

/** The seed that a decimal number spells, or undefined for what is not a whole number of 64 bits. */
export function seedOf(text: string): Seed | undefined {
  if (typeof text !== 'string' || !/^[+-]?\d{1,30}$/.test(text)) return undefined
  const seed = BigInt(text.replace(/^\+/, ''))
  return is64Bits(seed) ? smallest(seed) : undefined
}

/** A field `seed` whose number may have more digits than a number of JavaScript holds. A quote within a string would have a backslash before it. */
const longSeed = /(?<!\\)"seed"\s*:\s*(-?\d{16,})(?![\d.eE])/g

/**
 * `JSON.parse`, but that a field `seed`, wherever it stands, keeps all of its digits: where a number could not hold them it becomes their
 * text, for `seedOf`. Throws SyntaxError.
 */
export function parseJson(text: string): unknown {
  const parsed: unknown = JSON.parse(text)
  const exact = text.replace(longSeed, (field, digits: string) =>
    Number.isSafeInteger(Number(digits)) ? field : field.replace(digits, `"${digits}"`),
  )
  return exact === text ? parsed : JSON.parse(exact)
}

/** What stands for a seed in JSON: a whole number, or the text of one. Undefined for anything else. */
export function seedIn(value: unknown): Seed | undefined {
  if (typeof value === 'string') return seedOf(value)
  if (typeof value !== 'number' || !Number.isInteger(value)) return undefined
  return Number.isSafeInteger(value) ? value : seedOf(BigInt(value).toString())
}

/** Throws `bad_argument`. */
export function checkedSeed(seed: Seed): Seed {
  if (typeof seed === 'bigint' ? is64Bits(seed) : Number.isSafeInteger(seed)) return seed
  throw new ForetokenError(
    'bad_argument',
    `seed is ${String(seed)}; give a whole number from -2^63 to 2^63 - 1, as a bigint where it is beyond 2^53`,
  )
}

/** The seed `by` further on, for another answer to the same request; behind the last comes the first. */
export function nextSeed(seed: Seed, by: number): Seed {
  const sum = withArguments('nextSeed', () => BigInt(checkedSeed(seed)) + BigInt(by))
  return smallest(BigInt.asIntN(64, sum))
}

/** Its 64 bits as two halves, in two's complement. */
export function seedHalves(seed: Seed): readonly [low: number, high: number] {
  if (typeof seed === 'number') return [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0]
  return [Number(BigInt.asUintN(32, seed)), Number(BigInt.asUintN(32, seed >> 32n))]
}

function is64Bits(seed: bigint): boolean {
  return BigInt.asIntN(64, seed) === seed
}

function smallest(seed: bigint): Seed {
  const number = Number(seed)
  return Number.isSafeInteger(number) ? number : seed
}
