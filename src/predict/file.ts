/**
 * Reads and writes a predictor as one file: safetensors (huggingface/safetensors, README "Format")
 * whose metadata holds the header as JSON under `foretoken`, and under `sha256` the hash of that
 * text and of all tensor bytes.
 *
 *     layers.L.weight   I8   (2 kvWidth, k)      K above V; k = (1 + taps) hidden, the token's own
 *                                                position first, then those before it
 *     layers.L.scale    F16  (2 kvWidth, k / 32) one for 32 weights of a row
 *     layers.L.bias     F32  (2 kvWidth)
 *     bridges.L.*       the same, (hidden, k): added to the state to give the input of layer L
 *     sources.L.gain    F32  (hidden) factors on the normed state before layer L, which give the
 *                                     input of the maps
 *
 * In a separate plan, sources and their `hidden` belong to the auxiliary model, and there are no
 * bridges.
 */

import type { ByteSource } from '../base/bytes.ts'
import { withArguments } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import { sha256Hex } from '../base/hash.ts'
import { tensorBlocks } from '../base/model.ts'
import { isObject, parseBoundedJson } from '../model/json.ts'
import { jsonBounds, limits } from '../model/limits.ts'
import { readSafetensorsHead } from '../model/safetensors.ts'
import { checkedSource } from '../model/source.ts'
import { checkHeader } from './check-header.ts'
import { type PredictorHeader, stateWidth } from './header.ts'
import { sourcesOf } from './plan.ts'

/** A linear map in int8 with n outputs and k inputs, k a multiple of 32. */
export interface LinearMap {
  readonly n: number
  readonly k: number
  /** (n, k) */
  readonly weight: Int8Array
  /** (n, k / 32), binary16 */
  readonly scale: Uint16Array
  /** (n) */
  readonly bias: Float32Array
}

export interface PredictorFile {
  readonly header: PredictorHeader
  /** The maps by name: `layers.L` and `bridges.L`. */
  readonly maps: ReadonlyMap<string, LinearMap>
  /**
   * Factors on the inputs of each source in order, (hidden). They bring inputs to a size of about
   * 1, so that int8 activations keep their precision next to a few large ones.
   */
  readonly gains: readonly Float32Array[]
  /** SHA-256 of header and weights in hex, for a predictor that was read from a file. */
  readonly sha256?: string
}

const block = tensorBlocks.q8_0.elements

/** Returns the names and shapes of a plan's maps. */
export function mapsOf(header: PredictorHeader): { name: string; n: number; k: number }[] {
  const { plan, layers, hidden, kv_width } = header
  return sourcesOf(plan, layers).flatMap(({ taps, maps, run, bridged }) => {
    const k = (1 + taps) * stateWidth(header)
    const all = maps.map((layer) => ({ name: `layers.${layer}`, n: 2 * kv_width, k }))
    return bridged ? [...all, { name: `bridges.${run?.from}`, n: hidden, k }] : all
  })
}

/**
 * Reads and checks a predictor. Throws `bad_predictor` if it is malformed or has another version,
 * `checksum` if it is damaged.
 */
export async function readPredictor(source: ByteSource): Promise<PredictorFile> {
  const bad = (what: string) => notPredictor(source, what)
  const { header, foretoken, sha256, json, data } = await readHead(source)
  const wanted = mapsOf(header)
  const sources = sourcesOf(header.plan, header.layers)
  const size = wanted.reduce((sum, map) => sum + bytesOf(map), 0) + sources.length * stateWidth(header) * 4
  if (source.size !== data + size)
    throw bad(`its plan needs ${size} bytes of weights, and it has ${source.size - data}`)
  if (size > limits.predictor) throw bad(`it has ${size} bytes of weights; at most ${limits.predictor} are read`)
  // One buffer holds the hashed bytes and the maps are views of it, because an isolate has no room
  // for three copies. The weights begin aligned.
  const text = new TextEncoder().encode(foretoken)
  const front = Math.ceil(text.length / 64) * 64
  const buffer = new ArrayBuffer(front + size)
  const hashed = new Uint8Array(buffer, front - text.length)
  hashed.set(text)
  await source.read(data, new Uint8Array(buffer, front))
  if ((await sha256Hex(hashed)) !== sha256)
    throw new ForetokenError(
      'checksum',
      `${source.name} is damaged: its SHA-256 does not match; download or fit it again`,
    )
  const weights = new WeightReader(buffer, front, json, bad)
  const maps = new Map(wanted.map(({ name, n, k }) => [name, weights.map(name, n, k)]))
  const gains = sources.map(({ at: layer }) => weights.floats(gainName(layer), stateWidth(header)))
  return { header, maps, gains, sha256 }
}

/**
 * Reads the tensors of a buffer one after the other. They are views of it where they are aligned,
 * else copies.
 */
class WeightReader {
  readonly #buffer: ArrayBuffer
  readonly #front: number
  readonly #head: Readonly<Record<string, unknown>>
  readonly #bad: (what: string) => ForetokenError
  #at = 0

  /**
   * The weights begin at byte `front` of `buffer`; `head` holds the offset of each tensor from
   * there.
   */
  constructor(
    buffer: ArrayBuffer,
    front: number,
    head: Readonly<Record<string, unknown>>,
    bad: (what: string) => ForetokenError,
  ) {
    this.#buffer = buffer
    this.#front = front
    this.#head = head
    this.#bad = bad
  }

  map(name: string, n: number, k: number): LinearMap {
    this.#expectHere(`${name}.weight`)
    const weight = new Int8Array(...this.#bytes(n * k, 1))
    const scale = new Uint16Array(...this.#bytes((n * k * 2) / block, 2))
    if (scale.some((half) => (half & 0x7c00) === 0x7c00)) throw this.#bad(`${name} holds a value that is not finite`)
    return { n, k, weight, scale, bias: this.floats(`${name}.bias`, n) }
  }

  floats(name: string, length: number): Float32Array {
    this.#expectHere(name)
    const values = new Float32Array(...this.#bytes(length * 4, 4))
    if (!values.every(Number.isFinite)) throw this.#bad(`${name} holds a value that is not finite`)
    return values
  }

  #expectHere(name: string): void {
    if (offsetOf(this.#head[name]) !== this.#at) throw this.#bad(`${name} does not lie where it should`)
  }

  /** Returns the arguments of a typed array over the next `length` bytes. */
  #bytes(length: number, unit: number): [ArrayBuffer, number, number] {
    const from = this.#front + this.#at
    this.#at += length
    if (from % unit === 0) return [this.#buffer, from, length / unit]
    return [this.#buffer.slice(from, from + length), 0, length / unit]
  }
}

/** Reads a predictor's header. Its weights are neither read nor checked. Throws `bad_predictor`. */
export async function readPredictorHeader(source: ByteSource): Promise<PredictorHeader> {
  const checked = withArguments('readPredictorHeader', () => checkedSource('the predictor', source))
  return (await readHead(checked)).header
}

async function readHead(source: ByteSource) {
  const { json, data } = await readSafetensorsHead(source).catch((error) => {
    throw notPredictor(source, (error as Error).message)
  })
  const { foretoken, sha256 } = isObject(json.__metadata__) ? json.__metadata__ : {}
  if (typeof foretoken !== 'string' || typeof sha256 !== 'string')
    throw notPredictor(source, 'its metadata has no header')
  return { header: checkHeader(parsed(foretoken, source), source.name), foretoken, sha256, json, data }
}

function notPredictor({ name }: ByteSource, what: string): ForetokenError {
  return new ForetokenError('bad_predictor', `${name} is not a predictor: ${what}`)
}

/** Returns the bytes of the file. */
export async function writePredictor({ header, maps, gains }: PredictorFile): Promise<Uint8Array<ArrayBuffer>> {
  const wanted = mapsOf(header)
  const sources = sourcesOf(header.plan, header.layers)
  const size = wanted.reduce((sum, map) => sum + bytesOf(map), 0) + sources.length * stateWidth(header) * 4
  const bytes = new Uint8Array(size)
  const head: Record<string, unknown> = {}
  let at = 0
  const put = (name: string, dtype: string, shape: readonly number[], values: ArrayBufferView) => {
    bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at)
    head[name] = { dtype, shape, data_offsets: [at, at + values.byteLength] }
    at += values.byteLength
  }
  for (const { name, n, k } of wanted) {
    const map = maps.get(name)
    if (map?.n !== n || map.k !== k)
      throw new ForetokenError('internal', `the map ${name} is missing or not ${n} x ${k}`)
    put(`${name}.weight`, 'I8', [n, k], map.weight)
    put(`${name}.scale`, 'F16', [n, k / block], map.scale)
    put(`${name}.bias`, 'F32', [n], map.bias)
  }
  sources.forEach(({ at: layer }, index) => {
    const gain = gains[index]
    if (gain?.length !== stateWidth(header)) throw new ForetokenError('internal', `${gainName(layer)} is missing`)
    put(gainName(layer), 'F32', [stateWidth(header)], gain)
  })
  const foretoken = JSON.stringify(header)
  const metadata = { foretoken, sha256: await hashOf(foretoken, bytes) }
  const text = new TextEncoder().encode(JSON.stringify({ __metadata__: metadata, ...head }))
  const length = Math.ceil(text.length / 8) * 8
  const file = new Uint8Array(8 + length + bytes.length).fill(0x20, 8, 8 + length)
  new DataView(file.buffer).setBigUint64(0, BigInt(length), true)
  file.set(text, 8)
  file.set(bytes, 8 + length)
  return file
}

function bytesOf({ n, k }: { n: number; k: number }): number {
  return n * k + (n * k * 2) / block + n * 4
}

function gainName(layer: number): string {
  return `sources.${layer}.gain`
}

function offsetOf(entry: unknown): unknown {
  const offsets = isObject(entry) ? entry.data_offsets : undefined
  return Array.isArray(offsets) ? offsets[0] : undefined
}

function parsed(text: string, source: ByteSource): unknown {
  try {
    return parseBoundedJson(text, source.name, jsonBounds.config)
  } catch (error) {
    throw notPredictor(source, (error as Error).message)
  }
}

async function hashOf(text: string, bytes: Uint8Array): Promise<string> {
  const head = new TextEncoder().encode(text)
  const all = new Uint8Array(head.length + bytes.length)
  all.set(head)
  all.set(bytes, head.length)
  return sha256Hex(all)
}
