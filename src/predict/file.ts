/**
 * A predictor as one file: safetensors (huggingface/safetensors, README "Format") whose metadata holds the header as JSON
 * under `foretoken`, and under `sha256` the hash of that text and of all tensor bytes.
 *
 *     layers.L.weight   I8   (2 kvWidth, k)      K above V; k = (1 + taps) hidden, the own position first, then those before it
 *     layers.L.scale    F16  (2 kvWidth, k / 32) one for 32 weights of a row
 *     layers.L.bias     F32  (2 kvWidth)
 *     bridges.L.*       the same, (hidden, k): what to add to the state to have the input of layer L
 *     sources.L.gain    F32  (hidden) what the normed state before layer L is multiplied with, to be the input of the maps
 *
 * Of a separate plan, sources and their `hidden` are the auxiliary model's, and there are no bridges.
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
import { checkHeader, type PredictorHeader, sourcesOf, stateWidth } from './plan.ts'

/** A linear map in int8: n outputs of k inputs, k a multiple of 32. */
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
  /** By name: `layers.L` and `bridges.L`. */
  readonly maps: ReadonlyMap<string, LinearMap>
  /** Of each source in order, (hidden): so that inputs are about 1 in size, and int8 activations lose nothing to a few large ones. */
  readonly gains: readonly Float32Array[]
  /** SHA-256 of header and weights, hex: of one that was read from a file. */
  readonly sha256?: string
}

const block = tensorBlocks.q8_0.elements

/** The names of a plan's maps, and their shapes. */
export function mapsOf(header: PredictorHeader): { name: string; n: number; k: number }[] {
  const { plan, layers, hidden, kv_width } = header
  return sourcesOf(plan, layers).flatMap(({ taps, maps, run }) => {
    const k = (1 + taps) * stateWidth(header)
    const all = maps.map((layer) => ({ name: `layers.${layer}`, n: 2 * kv_width, k }))
    return run ? [...all, { name: `bridges.${run.from}`, n: hidden, k }] : all
  })
}

/** Throws `bad_predictor` for what is malformed or of another version, `checksum` for a damaged file. */
export async function readPredictor(source: ByteSource): Promise<PredictorFile> {
  const bad = (what: string) => notOne(source, what)
  const { header, foretoken, sha256, json, data } = await readHead(source)
  const wanted = mapsOf(header)
  const sources = sourcesOf(header.plan, header.layers)
  const size = wanted.reduce((sum, map) => sum + bytesOf(map), 0) + sources.length * stateWidth(header) * 4
  if (source.size !== data + size)
    throw bad(`its plan takes ${size} bytes of weights, and it has ${source.size - data}`)
  if (size > limits.predictor) throw bad(`it has ${size} bytes of weights; at most ${limits.predictor} are read`)
  // One buffer holds what is hashed, and the maps are views of it: an isolate has no room for three copies. The weights begin aligned.
  const text = new TextEncoder().encode(foretoken)
  const front = Math.ceil(text.length / 64) * 64
  const buffer = new ArrayBuffer(front + size)
  const hashed = new Uint8Array(buffer, front - text.length)
  hashed.set(text)
  await source.read(data, new Uint8Array(buffer, front))
  if ((await sha256Hex(hashed)) !== sha256)
    throw new ForetokenError('checksum', `${source.name} is damaged: its SHA-256 does not match; get or fit it again`)
  const maps = new Map<string, LinearMap>()
  let at = 0
  const take = (length: number, unit: number): [ArrayBuffer, number, number] => {
    const from = front + at
    at += length
    return from % unit === 0 ? [buffer, from, length / unit] : [buffer.slice(from, from + length), 0, length / unit]
  }
  for (const { name, n, k } of wanted) {
    const weight = new Int8Array(...take(n * k, 1))
    const scale = new Uint16Array(...take((n * k * 2) / block, 2))
    const bias = new Float32Array(...take(n * 4, 4))
    if (!bias.every(Number.isFinite) || scale.some((half) => (half & 0x7c00) === 0x7c00))
      throw bad(`${name} holds a value that is not finite`)
    for (const [part, offset] of [
      ['weight', at - bytesOf({ n, k })],
      ['bias', at - n * 4],
    ] as const)
      if (offsetOf(json[`${name}.${part}`]) !== offset) throw bad(`${name}.${part} does not lie where it should`)
    maps.set(name, { n, k, weight, scale, bias })
  }
  const gains = sources.map(({ at: layer }) => {
    if (offsetOf(json[gainName(layer)]) !== at) throw bad(`${gainName(layer)} does not lie where it should`)
    const gain = new Float32Array(...take(stateWidth(header) * 4, 4))
    if (!gain.every(Number.isFinite)) throw bad(`${gainName(layer)} holds a value that is not finite`)
    return gain
  })
  return { header, maps, gains, sha256 }
}

/** What a predictor says of itself; its weights are neither read nor checked. Throws `bad_predictor`. */
export async function readPredictorHeader(source: ByteSource): Promise<PredictorHeader> {
  const checked = withArguments('readPredictorHeader', () => checkedSource('the predictor', source))
  return (await readHead(checked)).header
}

async function readHead(source: ByteSource) {
  const { json, data } = await readSafetensorsHead(source).catch((error) => {
    throw notOne(source, (error as Error).message)
  })
  const { foretoken, sha256 } = isObject(json.__metadata__) ? json.__metadata__ : {}
  if (typeof foretoken !== 'string' || typeof sha256 !== 'string') throw notOne(source, 'its metadata has no header')
  return { header: checkHeader(parsed(foretoken, source), source.name), foretoken, sha256, json, data }
}

function notOne({ name }: ByteSource, what: string): ForetokenError {
  return new ForetokenError('bad_predictor', `${name} is no predictor: ${what}`)
}

/** The file's bytes. */
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
    throw notOne(source, (error as Error).message)
  }
}

async function hashOf(text: string, bytes: Uint8Array): Promise<string> {
  const head = new TextEncoder().encode(text)
  const all = new Uint8Array(head.length + bytes.length)
  all.set(head)
  all.set(bytes, head.length)
  return sha256Hex(all)
}
