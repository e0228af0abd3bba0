/**
 * Writes the stored corpus of streams of K and V: each named `<expected code>-<what it is>.ftkv`, `read` for a sound one.
 *
 *     node test/corpus/make-wire.ts
 *
 * A stream that once crashed or fooled the reader belongs here, too.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { loadWasm } from '../../node/wasm.ts'
import { joinBytes } from '../../src/base/bytes.ts'
import { wireCodecs } from '../../src/base/kv-codec.ts'
import { crc32 } from '../../src/transfer/crc32.ts'
import { wireWorld } from '../suites/wire-fuzz.ts'

const folder = new URL('wire/', import.meta.url)
mkdirSync(folder, { recursive: true })
const { valid, close } = await wireWorld(await loadWasm('auto', 1))
const write = (name: string, pieces: readonly Uint8Array[]) =>
  writeFileSync(new URL(`${name}.ftkv`, folder), joinBytes(pieces))

/** A copy of a piece with other bytes, and its CRC made right. */
function changed(piece: Uint8Array, change: (view: DataView) => void): Uint8Array {
  const copy = piece.slice()
  const view = new DataView(copy.buffer)
  change(view)
  const head = view.getUint32(0, true) === 0x564b5446
  if (head) view.setUint32(60, 0, true)
  view.setUint32(head ? 60 : 20, head ? crc32(copy) : crc32(copy.subarray(24), crc32(copy.subarray(0, 20))), true)
  return copy
}

for (const codec of wireCodecs.slice(1)) write(`read-${codec}`, valid[codec])
const [head, ...tiles] = valid.int4
const [front, first, ...rest] = valid.residual
write('bad_kv-empty', [])
write('bad_kv-head-alone', [head!])
write('bad_kv-no-mac', valid.int4.slice(0, -1))
write('bad_kv-tiles-swapped', [head!, tiles[1]!, tiles[0]!, ...tiles.slice(2)])
write('bad_kv-tile-twice', [head!, tiles[0]!, ...tiles])
write('bad_kv-something-behind', [...valid.int4, Uint8Array.of(0)])
write('bad_kv-huge-tiles', [changed(head!, (view) => view.setUint32(44, 0xffffffff, true)), ...tiles])
write('bad_kv-huge-table', [changed(head!, (view) => view.setUint32(48, 0xfffffff0, true)), ...tiles])
write('bad_kv-many-tiles', [changed(head!, (view) => view.setUint32(40, 0xffffffff, true)), ...tiles])
write('bad_kv-long-tile', [head!, changed(tiles[0]!, (view) => view.setUint32(16, 65_535, true)), ...tiles.slice(1)])
write('bad_kv-foreign-residual', [front!, changed(first!, (view) => view.setUint32(40, 0xdeadbeef, true)), ...rest])
write('bad_kv-steps-of-another-shape', [changed(front!, (view) => view.setUint8(256, 7)), first!, ...rest])
write('bad_mac-nibble', [
  head!,
  changed(tiles[0]!, (view) => view.setUint8(40, view.getUint8(40) ^ 1)),
  ...tiles.slice(1),
])
write('checksum-head', [head!.map((byte, at) => (at === 20 ? byte ^ 1 : byte)), ...tiles])
write('checksum-tile', [head!, tiles[0]!.map((byte, at) => (at === 90 ? byte ^ 1 : byte)), ...tiles.slice(1)])
write('wrong_model-weights', [changed(head!, (view) => view.setUint8(70, 0)), ...tiles])
write('wrong_model-shape', [changed(head!, (view) => view.setUint16(30, 4, true)), ...tiles])
await close()
