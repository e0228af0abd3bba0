import { defined } from './at.ts'

const rounds = 64
const blockBytes = 64

/** The constants of the standard, computed with the first digest. */
let tables: { readonly initial: Uint32Array; readonly rounds: Uint32Array } | undefined

/**
 * Returns the SHA-256 (FIPS 180-4) of a text's UTF-8, (32), without leaving the event loop's turn.
 * Meant for short texts such as keys: `crypto.subtle` answers in a later turn, and beside long
 * passes each turn waits for one.
 */
export function sha256Sync(text: string): Uint8Array<ArrayBuffer> {
  tables ??= { initial: rootsOf(8, 2), rounds: rootsOf(rounds, 3) }
  const bytes = padded(new TextEncoder().encode(text))
  const state = Uint32Array.from(tables.initial)
  const words = new Uint32Array(rounds)
  for (let from = 0; from < bytes.byteLength; from += blockBytes) compress(state, words, tables.rounds, bytes, from)
  const digest = new DataView(new ArrayBuffer(32))
  for (const [index, word] of state.entries()) digest.setUint32(4 * index, word)
  return new Uint8Array(digest.buffer)
}

/** Returns the message, one bit, zeros, and the message's length in bits, in whole blocks. */
function padded(message: Uint8Array): DataView {
  const bytes = new Uint8Array(Math.ceil((message.length + 9) / blockBytes) * blockBytes)
  bytes.set(message)
  bytes[message.length] = 0x80
  const view = new DataView(bytes.buffer)
  view.setBigUint64(bytes.length - 8, BigInt(message.length) * 8n)
  return view
}

/** Mixes one block into the state. The names are the standard's. */
function compress(state: Uint32Array, w: Uint32Array, k: Uint32Array, bytes: DataView, from: number): void {
  for (let t = 0; t < 16; t++) w[t] = bytes.getUint32(from + 4 * t)
  for (let t = 16; t < rounds; t++) {
    const [early, late] = [defined(w[t - 15]), defined(w[t - 2])]
    const s0 = rotated(early, 7) ^ rotated(early, 18) ^ (early >>> 3)
    const s1 = rotated(late, 17) ^ rotated(late, 19) ^ (late >>> 10)
    w[t] = defined(w[t - 16]) + s0 + defined(w[t - 7]) + s1
  }
  let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = state
  for (let t = 0; t < rounds; t++) {
    const sum1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)
    const choice = (e & f) ^ (~e & g)
    const first = (h + sum1 + choice + defined(k[t]) + defined(w[t])) | 0
    const sum0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)
    const majority = (a & b) ^ (a & c) ^ (b & c)
    ;[h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + sum0 + majority) | 0]
  }
  for (const [index, word] of [a, b, c, d, e, f, g, h].entries()) state[index] = defined(state[index]) + word
}

function rotated(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by))
}

/**
 * Returns the first 32 bits of the fractional parts of the square or cube roots of the first
 * primes.
 */
function rootsOf(count: number, power: number): Uint32Array {
  return Uint32Array.from(primes(count), (prime) => fractionBits(BigInt(prime), power))
}

function primes(count: number): number[] {
  const found: number[] = []
  for (let n = 2; found.length < count; n++) if (found.every((prime) => n % prime !== 0)) found.push(n)
  return found
}

/** Returns the floor of 2^32 times the root, modulo 2^32, by bisection in whole numbers. */
function fractionBits(prime: bigint, power: number): number {
  const target = prime << BigInt(32 * power)
  let [low, high] = [0n, prime << 32n]
  while (high - low > 1n) {
    const middle = (low + high) >> 1n
    if (middle ** BigInt(power) <= target) low = middle
    else high = middle
  }
  return Number(BigInt.asUintN(32, low))
}
