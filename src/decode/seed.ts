/**
 * Seeds are any whole numbers of 64 bits, since clients draw from all of them. A JavaScript number
 * is exact up to 53 bits only, so that a seed beyond these is a bigint.
 */
import { withArguments, wrong } from '../base/checks.ts'

/**
 * A safe integer, or a bigint from -2^63 to 2^63 - 1. A bigint and a number of equal value are the
 * same seed.
 */
export type Seed = number | bigint

/** Parses a decimal number; returns undefined unless it is a whole number of 64 bits. */
export function seedOf(text: string): Seed | undefined {
  if (typeof text !== 'string' || !/^[+-]?\d{1,30}$/.test(text)) return undefined
  const seed = BigInt(text.replace(/^\+/, ''))
  return is64Bits(seed) ? smallest(seed) : undefined
}

/**
 * Matches a field `seed` whose number may have more digits than a JavaScript number can hold.
 * Inside a JSON string the quote would follow a backslash.
 */
const longSeed = /(?<!\\)"seed"\s*:\s*(-?\d{16,})(?![\d.eE])/g

/**
 * Parses JSON as `JSON.parse` does, but keeps all digits of any field named `seed`: a value beyond
 * the safe integers becomes a string of its digits, for `seedOf`. Throws SyntaxError.
 */
export function parseJson(text: string): unknown {
  const parsed: unknown = JSON.parse(text)
  const exact = text.replace(longSeed, (field, digits: string) =>
    Number.isSafeInteger(Number(digits)) ? field : field.replace(digits, `"${digits}"`),
  )
  return exact === text ? parsed : JSON.parse(exact)
}

/**
 * Returns the seed that a JSON value represents: a whole number or the text of one. Returns
 * undefined for anything else.
 */
export function seedIn(value: unknown): Seed | undefined {
  if (typeof value === 'string') return seedOf(value)
  if (typeof value !== 'number' || !Number.isInteger(value)) return undefined
  return Number.isSafeInteger(value) ? value : seedOf(BigInt(value).toString())
}

/** Returns `seed` if it is valid. Throws `bad_argument` otherwise. */
export function checkedSeed(seed: Seed): Seed {
  if (typeof seed === 'bigint' ? is64Bits(seed) : Number.isSafeInteger(seed)) return seed
  throw wrong('seed', 'a whole number from -2^63 to 2^63 - 1, as a bigint where it is beyond 2^53', seed)
}

/**
 * Returns `seed + by`, the seed of another answer to the same request, wrapping around at 64 bits.
 * Throws `bad_argument` for an invalid seed.
 */
export function nextSeed(seed: Seed, by: number): Seed {
  const sum = withArguments('nextSeed', () => BigInt(checkedSeed(seed)) + BigInt(by))
  return smallest(BigInt.asIntN(64, sum))
}

/** Returns the 64 bits of a seed as two unsigned halves, in two's complement. */
export function seedHalves(seed: Seed): readonly [low: number, high: number] {
  if (typeof seed === 'number') return [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0]
  return [Number(BigInt.asUintN(32, seed)), Number(BigInt.asUintN(32, seed >> 32n))]
}

/**
 * Returns another seed for each `stream`, a whole number of 32 bits: numbers that are drawn with it
 * do not repeat those of `seed`.
 */
export function apartFrom(seed: Seed, stream: number): Seed {
  return BigInt.asIntN(64, BigInt(checkedSeed(seed)) ^ (BigInt(stream) << 32n) ^ BigInt(stream))
}

function is64Bits(seed: bigint): boolean {
  return BigInt.asIntN(64, seed) === seed
}

function smallest(seed: bigint): Seed {
  const number = Number(seed)
  return Number.isSafeInteger(number) ? number : seed
}
