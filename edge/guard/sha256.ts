/**
 * SHA-256 (FIPS 180-4) of short texts without leaving the event loop's turn: `crypto.subtle` answers in a later turn, and beside long
 * passes each turn is a wait for one.
 */

const rounds = 64
const blockBytes = 64

/** The first 32 bits of the fractional parts of the square or cube roots of the first primes. */
const rootsOf = (count: number, power: number) =>
  Uint32Array.from(primes(count), (prime) => fractionBits(BigInt(prime), power))

const initial = rootsOf(8, 2)
const constants = rootsOf(rounds, 3)

/** The digest of a text's UTF-8; (32). */
export function sha256(text: string): Uint8Array {
  const bytes = padded(new TextEncoder().encode(text))
  const state = Uint32Array.from(initial)
  const words = new Uint32Array(rounds)
  for (let at = 0; at < bytes.byteLength; at += blockBytes) compress(state, words, bytes, at)
  const digest = new DataView(new ArrayBuffer(32))
  state.forEach((word, index) => {
    digest.setUint32(4 * index, word)
  })
  return new Uint8Array(digest.buffer)
}

/** The message, one bit, zeros, and the message's length in bits, to whole blocks. */
function padded(message: Uint8Array): DataView {
  const bytes = new Uint8Array(Math.ceil((message.length + 9) / blockBytes) * blockBytes)
  bytes.set(message)
  bytes[message.length] = 0x80
  const view = new DataView(bytes.buffer)
  view.setBigUint64(bytes.length - 8, BigInt(message.length) * 8n)
  return view
}

function compress(state: Uint32Array, w: Uint32Array, bytes: DataView, at: number): void {
  for (let t = 0; t < 16; t++) w[t] = bytes.getUint32(at + 4 * t)
  for (let t = 16; t < rounds; t++) {
    const [early, late] = [w[t - 15]!, w[t - 2]!]
    const s0 = rotated(early, 7) ^ rotated(early, 18) ^ (early >>> 3)
    const s1 = rotated(late, 17) ^ rotated(late, 19) ^ (late >>> 10)
    w[t] = w[t - 16]! + s0 + w[t - 7]! + s1
  }
  let [a, b, c, d, e, f, g, h] = state as unknown as [number, number, number, number, number, number, number, number]
  for (let t = 0; t < rounds; t++) {
    const sum1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)
    const choice = (e & f) ^ (~e & g)
    const first = (h + sum1 + choice + constants[t]! + w[t]!) | 0
    const sum0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)
    const majority = (a & b) ^ (a & c) ^ (b & c)
    ;[h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + sum0 + majority) | 0]
  }
  ;[a, b, c, d, e, f, g, h].forEach((word, index) => {
    state[index]! += word
  })
}

function rotated(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by))
}

function primes(count: number): number[] {
  const found: number[] = []
  for (let n = 2; found.length < count; n++) if (found.every((prime) => n % prime !== 0)) found.push(n)
  return found
}

/** Floor of 2^32 times the root, modulo 2^32, by bisection in whole numbers. */
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
