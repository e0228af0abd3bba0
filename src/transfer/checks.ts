/** Reads and checks the head of a stream and the heads of its tiles. */

import { ForetokenError } from '../base/errors.ts'
import { equalBytes, toHex } from '../base/hash.ts'
import { wireCodecs } from '../base/kv-codec.ts'
import type { ByteReader } from './byte-reader.ts'
import { crc32 } from './crc32.ts'
import { hashOfIds } from './digest.ts'
import {
  headBytes,
  type KvRange,
  magic,
  mostTableBytes,
  mostTileBytes,
  tileHeadBytes,
  version,
  type WireBinding,
} from './format.ts'
import { type TileBytes, tileCount, type WireTile } from './tiles.ts'

export interface ReadOptions {
  /** The positions at which the stream must begin and end. */
  readonly from: number
  readonly to: number
  /**
   * Returns the payload size of each tile. Called with a range that fits the binding; throws if the
   * codec cannot be read.
   */
  readonly accept: (range: KvRange) => TileBytes
  /** Called for each tile in order. The bytes are valid until the promise resolves. */
  readonly tile: (tile: WireTile, payload: Uint8Array, range: KvRange) => Promise<void>
  readonly signal?: AbortSignal | undefined
}

export async function readHead(
  reader: ByteReader,
  binding: WireBinding,
  { from, to }: ReadOptions,
): Promise<{ head: Uint8Array<ArrayBuffer>; range: KvRange }> {
  const front = new Uint8Array(headBytes)
  await reader.fill(front, 'its head')
  const view = new DataView(front.buffer)
  if (!magic.every((byte, at) => front[at] === byte)) throw bad('it does not begin with "FTKVWIRE"')
  const found = view.getUint16(8, true)
  if (found !== version) throw bad(`it has version ${found}, and this foretoken reads ${version}`)
  const codec = wireCodecs[view.getUint16(10, true)]
  const tableBytes = view.getUint32(48, true)
  if (tableBytes > mostTableBytes || view.getUint32(12, true) !== headBytes + tableBytes)
    throw bad(`its table has ${tableBytes} bytes and its head ${view.getUint32(12, true)}`)
  if (!codec || (codec !== 'residual' && tableBytes > 0)) throw bad('it has a codec that this foretoken does not know')
  const head = new Uint8Array(headBytes + tableBytes)
  head.set(front)
  await reader.fill(head.subarray(headBytes), 'its table')
  const crc = view.getUint32(60, true)
  const zeroed = new DataView(head.buffer)
  zeroed.setUint32(60, 0, true)
  if (crc32(head) !== crc) throw damaged('its head')
  zeroed.setUint32(60, crc, true)
  const range: KvRange = {
    codec,
    from: view.getUint32(16, true),
    to: view.getUint32(20, true),
    promptTokens: view.getUint32(24, true),
    firstLayer: view.getUint16(28, true),
    tileTokens: view.getUint16(36, true),
    tileLayers: view.getUint16(38, true),
    mostBytes: view.getUint32(44, true),
    table: head.subarray(headBytes),
  }
  checkShape(view, binding)
  await checkFingerprints(front, binding, range)
  if (range.from !== from || range.to !== to)
    throw bad(`it holds tokens ${range.from} to ${range.to}, and ${from} to ${to} were asked for`)
  if (!equalBytes(front.subarray(192, 224), await hashOfIds(binding.ids, to))) throw bad('it was made for other tokens')
  checkRange(view, binding, range)
  return { head, range }
}

function checkShape(view: DataView, { shape, identity }: WireBinding): void {
  const found = [view.getUint16(30, true), view.getUint16(32, true), view.getUint16(34, true)].join(' x ')
  const wanted = [shape.layers, shape.kvHeads, shape.headDim].join(' x ')
  if (found !== wanted)
    throw new ForetokenError(
      'wrong_model',
      `its K and V are ${found} (layers, heads, values), those of ${identity.name} are ${wanted}`,
    )
}

async function checkFingerprints(head: Uint8Array, { identity }: WireBinding, { codec }: KvRange): Promise<void> {
  const hashes = [
    ['model', 64, identity.model],
    ['vocabulary', 96, identity.tokenizer],
    ['RoPE', 128, identity.rope],
    ...(codec === 'residual' ? ([['predictor', 160, identity.predictor ?? '']] as const) : []),
  ] as const
  for (const [what, at, hex] of hashes)
    if (toHex(head.subarray(at, at + 32)) !== hex)
      throw new ForetokenError(
        'wrong_model',
        `its ${what} (${toHex(head.subarray(at, at + 6))}) is not that of ${identity.name} (${hex.slice(0, 12) || 'none'}); ` +
          'run the same model and files at both ends',
      )
}

/**
 * Checks the rest of a head whose model and tokens are right, before memory for a tile is
 * allocated.
 */
function checkRange(view: DataView, { shape }: WireBinding, range: KvRange): void {
  const { codec, from, to, promptTokens, firstLayer, tileTokens, tileLayers, mostBytes } = range
  if (from % 16 !== 0 || from >= to) throw bad(`it holds tokens ${from} to ${to}`)
  if (codec === 'residual' ? promptTokens < to : promptTokens !== to)
    throw bad(`its prompt has ${promptTokens} tokens, and it holds those before ${to}`)
  if (firstLayer >= shape.layers || (codec !== 'residual' && firstLayer > 0))
    throw bad(`its first layer is ${firstLayer} of ${shape.layers}`)
  if (tileTokens < 32 || tileTokens > 256 || tileTokens % 32 !== 0 || tileLayers < 1 || tileLayers > shape.layers)
    throw bad(`its tiles have ${tileTokens} tokens of ${tileLayers} layers`)
  if (mostBytes > mostTileBytes) throw bad(`its tiles have up to ${mostBytes} bytes; at most ${mostTileBytes} are read`)
  const tiles = view.getUint32(40, true)
  if (tiles !== tileCount(shape, range))
    throw bad(`its head says ${tiles} tiles, and its shape ${tileCount(shape, range)}`)
  const zeros = [...new Uint8Array(view.buffer, 52, 8), ...new Uint8Array(view.buffer, 224, 32)]
  if (codec !== 'residual') zeros.push(...new Uint8Array(view.buffer, 160, 32))
  if (zeros.some((byte) => byte !== 0)) throw bad('bytes of its head that must be zero are not')
}

/**
 * Returns the length of a tile's payload, in bytes. Throws `bad_kv` for any tile but the expected
 * one, and for any other length.
 */
export function checkTile(front: Uint8Array, tile: WireTile, wanted: number | undefined, most: number): number {
  const view = new DataView(front.buffer, front.byteOffset)
  const words = [view.getUint32(0, true), view.getUint32(4, true), view.getUint32(8, true)]
  const found = [...words, view.getUint16(12, true), view.getUint16(14, true)].join(' ')
  const expected = [tile.index, tile.from, tile.to, tile.layers.from, tile.layers.to].join(' ')
  if (found !== expected)
    throw bad(`it has tile ${found} (number, tokens, layers) instead of ${expected}: out of order, or damaged`)
  const length = view.getUint32(16, true)
  if (length > most || (wanted !== undefined && length !== wanted))
    throw bad(`tile ${tile.index} has ${length} bytes, not ${wanted ?? `at most ${most}`}`)
  return length
}

export function checkCrc(bytes: Uint8Array, { index }: WireTile): void {
  const crc = new DataView(bytes.buffer, bytes.byteOffset).getUint32(20, true)
  if (crc32(bytes.subarray(tileHeadBytes), crc32(bytes.subarray(0, 20))) !== crc) throw damaged(`tile ${index}`)
}

function bad(why: string): ForetokenError {
  return new ForetokenError('bad_kv', `the stream of K and V can't be used: ${why}`)
}

function damaged(what: string): ForetokenError {
  return new ForetokenError('checksum', `${what} is damaged: its CRC-32 does not match; ask for the stream again`)
}
