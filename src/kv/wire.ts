/**
 * K and V on the wire: what one engine has computed of a prompt, streamed to another that has the same model. Version 1.
 *
 * All numbers are little-endian. A stream is a head, tiles in order, and a MAC; nothing follows.
 *
 *     head
 *     0    8 bytes  "FTKVWIRE"
 *     8    u16      version, 1
 *     10   u16      codec: 0 f32, 1 f16, 2 int8, 3 int4, 4 residual
 *     12   u32      bytes of the head, H = 256 + those of the table
 *     16   u32      from: first position, a multiple of 16; the receiver holds those before it
 *     20   u32      to: position behind the last
 *     24   u32      tokens of the prompt: of `residual`, what the prediction was made for, at least `to`; else `to`
 *     28   u16      first layer; those below are not sent: of `residual` the receiver's own are exact, else 0
 *     30   u16      layers of the model
 *     32   u16      KV heads of a layer, the most of any
 *     34   u16      values of a head
 *     36   u16      T: tokens of a tile, 32 to 256, a multiple of 32
 *     38   u16      L: layers of a tile
 *     40   u32      tiles
 *     44   u32      most bytes of a tile's payload, at most 4 MiB
 *     48   u32      bytes of the table, at most 65,280; 0 but for `residual`
 *     52   8 bytes  zero
 *     60   u32      CRC-32 of the head, these 4 bytes taken as zero
 *     64   32       SHA-256: the model's identity (its weights)
 *     96   32       SHA-256: its vocabulary
 *     128  32       SHA-256: its RoPE
 *     160  32       SHA-256: the predictor's file; zero but for `residual`
 *     192  32       SHA-256: token ids 0..to - 1, u32 each
 *     224  32       zero
 *     256           the table, see kv/residual.ts
 *
 *     tile, `tiles` times: tokens from + T i.. of layers first + L j.., layers within tokens, the last of both ragged
 *     0    u32      number, from 0
 *     4    u32      first position
 *     8    u32      position behind the last
 *     12   u16      first layer
 *     14   u16      layer behind the last
 *     16   u32      bytes of the payload
 *     20   u32      CRC-32 of the 20 bytes before and of the payload
 *     24            payload
 *
 *     MAC
 *     0    32       HMAC-SHA-256(key, "foretoken kv wire 1\0", u32 bytes of the context, context, chain)
 *
 * `chain` is SHA-256(head) at first, and with each tile SHA-256(chain, SHA-256(tile)), its head included. The context is the
 * caller's, in UTF-8: both ends know it (a request's nonce), it is not sent.
 *
 * A payload is its layers one after the other; in each K, then V, head by head; of each head groups of 32 tokens, the last of as
 * many as are left, n. K has its position embedding, as pages have it. D is the values of a head:
 *
 *     f32      K f32 (D, n), V f32 (n, D)
 *     f16      the same in binary16
 *     int8     f32 scales (n), then K i8 (D, n) or V i8 (n, D): a scale for a head and token, value = scale * i8
 *     int4     rows of at most 32 values: K (D rows of n tokens), V (n rows of D, cut every 32): binary16 d, binary16 m, then
 *              ceil(w / 2) bytes for w values: byte i holds value i (low 4 bits) and i + ceil(w / 2); value = d * q + m
 *     residual see kv/residual.ts
 *
 * So a tile decodes alone, and all but those of `residual` have a size that follows from their shape. A reader makes nothing larger
 * than a tile, and nothing before it has checked the head against its own model. What it writes before the MAC has been checked
 * must not be used.
 */
import { ForetokenError } from '../errors.ts'
import { type WireCodec, wireCodecs } from '../types.ts'
import { crc32 } from './crc32.ts'
import { Pull } from './pull.ts'

/** What K and V depend on beside the tokens: SHA-256 each, hex. */
export interface KvIdentity {
  /** For messages. */
  readonly name: string
  readonly model: string
  readonly tokenizer: string
  readonly rope: string
  /** Of an engine with a predictor. */
  readonly predictor?: string
}

/** The shape of the K and V. */
export interface KvShape {
  readonly layers: number
  readonly kvHeads: number
  readonly headDim: number
}

/** Which of a prompt's K and V a stream holds. */
export interface KvRange {
  readonly codec: WireCodec
  readonly from: number
  readonly to: number
  /** Of the prompt that a prediction is made for. */
  readonly promptTokens: number
  readonly firstLayer: number
  readonly tileTokens: number
  readonly tileLayers: number
  readonly mostBytes: number
  readonly table: Uint8Array
}

/** What says how a range is cut into tiles. */
export type KvTiles = Pick<KvRange, 'from' | 'to' | 'firstLayer' | 'tileTokens' | 'tileLayers'>

export interface WireTile {
  readonly index: number
  readonly from: number
  readonly to: number
  readonly layers: { readonly from: number; readonly to: number }
}

/** What both ends of a stream know. */
export interface WireBinding {
  readonly identity: KvIdentity
  readonly shape: KvShape
  /** The prompt, at least as far as `to`. */
  readonly ids: readonly number[]
  /** At least 16 bytes. */
  readonly key: Uint8Array
  /** Binds the stream to a request. Default ''. */
  readonly context?: string
}

/** Bytes of a payload; undefined where only the most is known. */
export type TileBytes = (tile: WireTile) => number | undefined

const magic = new TextEncoder().encode('FTKVWIRE')
const version = 1
const headBytes = 256
const tileHeadBytes = 24
const macBytes = 32
export const mostTileBytes = 1 << 22
export const mostTableBytes = 65_280

/** The tiles of a range, in their order on the wire. */
export function* tilesOf({ layers }: Pick<KvShape, 'layers'>, range: KvTiles): Generator<WireTile> {
  const { from, to, firstLayer, tileTokens, tileLayers } = range
  let index = 0
  for (let at = from; at < to; at += tileTokens)
    for (let layer = firstLayer; layer < layers; layer += tileLayers)
      yield {
        index: index++,
        from: at,
        to: Math.min(to, at + tileTokens),
        layers: { from: layer, to: Math.min(layers, layer + tileLayers) },
      }
}

/** A stream: `payload` is asked for each tile in order, when the one before has been taken. */
export async function* writeWire(
  binding: WireBinding,
  range: KvRange,
  payload: (tile: WireTile) => Promise<Uint8Array>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const seal = new Seal(binding.key)
  const head = await encodeHead(binding, range)
  await seal.begin(head)
  yield head
  for (const tile of tilesOf(binding.shape, range)) {
    const bytes = encodeTile(tile, await payload(tile))
    await seal.add(bytes)
    yield bytes
  }
  yield await seal.mac(binding.context)
}

export interface ReadOptions {
  /** Where the stream must begin and end. */
  readonly from: number
  readonly to: number
  /** Says of a head that fits the binding what its tiles' payloads must have; throws for a codec that can't be read. */
  readonly accept: (range: KvRange) => TileBytes
  /** Called for each tile in order; the bytes are valid until it resolves. */
  readonly tile: (tile: WireTile, payload: Uint8Array, range: KvRange) => Promise<void>
  readonly signal?: AbortSignal | undefined
}

/**
 * Reads a stream, cut anywhere, to its end. Throws `bad_kv` for what is no such stream, or truncated, out of order, of other
 * tokens, or followed by more; `wrong_model`, `checksum`, `bad_mac`, `aborted`, and what the stream and the callbacks throw.
 */
export async function readWire(
  body: AsyncIterable<Uint8Array>,
  binding: WireBinding,
  options: ReadOptions,
): Promise<{ readonly range: KvRange; readonly bytes: number }> {
  const pull = new Pull(body, options.signal)
  try {
    const seal = new Seal(binding.key)
    const { head, range } = await readHead(pull, binding, options)
    await seal.begin(head)
    const expected = options.accept(range)
    let room = new Uint8Array(0)
    for (const tile of tilesOf(binding.shape, range)) {
      const front = new Uint8Array(tileHeadBytes)
      await pull.fill(front, `the head of tile ${tile.index}`)
      const length = checkTile(front, tile, expected(tile), range.mostBytes)
      if (room.length < tileHeadBytes + length) room = new Uint8Array(tileHeadBytes + length)
      const bytes = room.subarray(0, tileHeadBytes + length)
      bytes.set(front)
      await pull.fill(bytes.subarray(tileHeadBytes), `tile ${tile.index}`)
      checkCrc(bytes, tile)
      await seal.add(bytes)
      await options.tile(tile, bytes.subarray(tileHeadBytes), range)
    }
    const mac = new Uint8Array(macBytes)
    await pull.fill(mac, 'its MAC')
    if (!(await seal.verify(mac, binding.context)))
      throw new ForetokenError(
        'bad_mac',
        `the MAC of ${pull.taken} bytes does not match: they were changed, or made with another key or for another request`,
      )
    await pull.end()
    return { range, bytes: pull.taken }
  } finally {
    pull.close()
  }
}

async function encodeHead(binding: WireBinding, range: KvRange): Promise<Uint8Array<ArrayBuffer>> {
  const { shape, identity } = binding
  const { codec, from, to, promptTokens, firstLayer, tileTokens, tileLayers, mostBytes, table } = range
  const head = new Uint8Array(headBytes + table.length)
  const view = new DataView(head.buffer)
  head.set(magic)
  view.setUint16(8, version, true)
  view.setUint16(10, wireCodecs.indexOf(codec), true)
  const words = { 12: head.length, 16: from, 20: to, 24: promptTokens, 40: tileCount(shape, range), 44: mostBytes }
  for (const [at, value] of Object.entries({ ...words, 48: table.length })) view.setUint32(Number(at), value, true)
  const halves = { 28: firstLayer, 30: shape.layers, 32: shape.kvHeads, 34: shape.headDim, 36: tileTokens }
  for (const [at, value] of Object.entries({ ...halves, 38: tileLayers })) view.setUint16(Number(at), value, true)
  head.set(fromHex(identity.model), 64)
  head.set(fromHex(identity.tokenizer), 96)
  head.set(fromHex(identity.rope), 128)
  if (codec === 'residual') head.set(fromHex(identity.predictor ?? ''), 160)
  head.set(await hashOfIds(binding.ids, to), 192)
  head.set(table, headBytes)
  view.setUint32(60, crc32(head), true)
  return head
}

async function readHead(
  pull: Pull,
  binding: WireBinding,
  { from, to }: ReadOptions,
): Promise<{ head: Uint8Array<ArrayBuffer>; range: KvRange }> {
  const front = new Uint8Array(headBytes)
  await pull.fill(front, 'its head')
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
  await pull.fill(head.subarray(headBytes), 'its table')
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
  if (!(await equal(front.subarray(192, 224), hashOfIds(binding.ids, to)))) throw bad('it is of other tokens')
  checkRange(view, binding, range)
  return { head, range }
}

function checkShape(view: DataView, { shape, identity }: WireBinding): void {
  const made = [view.getUint16(30, true), view.getUint16(32, true), view.getUint16(34, true)].join(' x ')
  const wanted = [shape.layers, shape.kvHeads, shape.headDim].join(' x ')
  if (made !== wanted)
    throw new ForetokenError(
      'wrong_model',
      `its K and V are ${made} (layers, heads, values), ${identity.name}'s ${wanted}`,
    )
}

async function checkFingerprints(head: Uint8Array, { identity }: WireBinding, { codec }: KvRange): Promise<void> {
  const rows = [
    ['model', 64, identity.model],
    ['vocabulary', 96, identity.tokenizer],
    ['RoPE', 128, identity.rope],
    ...(codec === 'residual' ? ([['predictor', 160, identity.predictor ?? '']] as const) : []),
  ] as const
  for (const [what, at, hex] of rows)
    if (toHex(head.subarray(at, at + 32)) !== hex)
      throw new ForetokenError(
        'wrong_model',
        `its ${what} (${toHex(head.subarray(at, at + 6))}) is not that of ${identity.name} (${hex.slice(0, 12) || 'none'}); ` +
          'run the same model and files at both ends',
      )
}

/** What is left to check of a head whose model and tokens are right, before a tile is made room for. */
function checkRange(view: DataView, { shape }: WireBinding, range: KvRange): void {
  const { codec, from, to, promptTokens, firstLayer, tileTokens, tileLayers, mostBytes } = range
  if (from % 16 !== 0 || from >= to) throw bad(`it holds tokens ${from} to ${to}`)
  if (codec === 'residual' ? promptTokens < to : promptTokens !== to)
    throw bad(`its prompt has ${promptTokens} tokens, and it holds them to ${to}`)
  if (firstLayer >= shape.layers || (codec !== 'residual' && firstLayer > 0))
    throw bad(`it begins with layer ${firstLayer} of ${shape.layers}`)
  if (tileTokens < 32 || tileTokens > 256 || tileTokens % 32 !== 0 || tileLayers < 1 || tileLayers > shape.layers)
    throw bad(`its tiles have ${tileTokens} tokens of ${tileLayers} layers`)
  if (mostBytes > mostTileBytes) throw bad(`its tiles have up to ${mostBytes} bytes; at most ${mostTileBytes} are read`)
  const tiles = view.getUint32(40, true)
  if (tiles !== tileCount(shape, range))
    throw bad(`it promises ${tiles} tiles, and its shape ${tileCount(shape, range)}`)
  const zeros = [...new Uint8Array(view.buffer, 52, 8), ...new Uint8Array(view.buffer, 224, 32)]
  if (codec !== 'residual') zeros.push(...new Uint8Array(view.buffer, 160, 32))
  if (zeros.some((byte) => byte !== 0)) throw bad('bytes of its head that are to be zero are not')
}

function encodeTile({ index, from, to, layers }: WireTile, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(tileHeadBytes + payload.length)
  const view = new DataView(bytes.buffer)
  ;[index, from, to].forEach((value, at) => {
    view.setUint32(at * 4, value, true)
  })
  view.setUint16(12, layers.from, true)
  view.setUint16(14, layers.to, true)
  view.setUint32(16, payload.length, true)
  bytes.set(payload, tileHeadBytes)
  view.setUint32(20, crc32(payload, crc32(bytes.subarray(0, 20))), true)
  return bytes
}

/** The length of a tile's payload. Throws `bad_kv` for another tile than the expected one, or another length. */
function checkTile(front: Uint8Array, tile: WireTile, wanted: number | undefined, most: number): number {
  const view = new DataView(front.buffer, front.byteOffset)
  const words = [view.getUint32(0, true), view.getUint32(4, true), view.getUint32(8, true)]
  const found = [...words, view.getUint16(12, true), view.getUint16(14, true)].join(' ')
  const expected = [tile.index, tile.from, tile.to, tile.layers.from, tile.layers.to].join(' ')
  if (found !== expected)
    throw bad(`where tile ${expected} (number, tokens, layers) should come it has ${found}: out of order, or damaged`)
  const length = view.getUint32(16, true)
  if (length > most || (wanted !== undefined && length !== wanted))
    throw bad(`tile ${tile.index} has ${length} bytes, not ${wanted ?? `at most ${most}`}`)
  return length
}

function checkCrc(bytes: Uint8Array, { index }: WireTile): void {
  const crc = new DataView(bytes.buffer, bytes.byteOffset).getUint32(20, true)
  if (crc32(bytes.subarray(tileHeadBytes), crc32(bytes.subarray(0, 20))) !== crc) throw damaged(`tile ${index}`)
}

/** The MAC of a stream, made as it passes: WebCrypto's HMAC takes whole messages only, so it seals a chain of hashes. */
class Seal {
  readonly #key: Promise<CryptoKey>
  #chain = new Uint8Array(0)

  constructor(key: Uint8Array) {
    if (key.length < 16)
      throw new ForetokenError('bad_argument', `a key of ${key.length} bytes is too short; give 16 or more`)
    const algorithm = { name: 'HMAC', hash: 'SHA-256' }
    this.#key = crypto.subtle.importKey('raw', Uint8Array.from(key), algorithm, false, ['sign', 'verify'])
  }

  async begin(head: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#chain = await sha256(head)
  }

  async add(tile: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#chain = await sha256(joined([this.#chain, await sha256(tile)]))
  }

  async mac(context?: string): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await crypto.subtle.sign('HMAC', await this.#key, this.#message(context)))
  }

  /** In constant time. */
  async verify(mac: Uint8Array<ArrayBuffer>, context?: string): Promise<boolean> {
    return crypto.subtle.verify('HMAC', await this.#key, mac, this.#message(context))
  }

  #message(context = ''): Uint8Array<ArrayBuffer> {
    const text = new TextEncoder().encode(context)
    const length = new DataView(new ArrayBuffer(4))
    length.setUint32(0, text.length, true)
    return joined([new TextEncoder().encode('foretoken kv wire 1\0'), new Uint8Array(length.buffer), text, this.#chain])
  }
}

function tileCount({ layers }: KvShape, { from, to, firstLayer, tileTokens, tileLayers }: KvRange): number {
  return Math.ceil((to - from) / tileTokens) * Math.ceil((layers - firstLayer) / tileLayers)
}

/** SHA-256 of ids 0..to - 1, as u32. */
async function hashOfIds(ids: readonly number[], to: number): Promise<Uint8Array> {
  const view = new DataView(new ArrayBuffer(4 * to))
  for (let at = 0; at < to; at++) view.setUint32(4 * at, ids[at]!, true)
  return sha256(new Uint8Array(view.buffer))
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
}

async function equal(a: Uint8Array, b: Promise<Uint8Array>): Promise<boolean> {
  return toHex(a) === toHex(await b)
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** 32 bytes; throws `internal` for what is no SHA-256. */
function fromHex(hex: string): Uint8Array {
  if (!/^[0-9a-f]{64}$/.test(hex)) throw new ForetokenError('internal', `"${hex.slice(0, 80)}" is no SHA-256`)
  return Uint8Array.from({ length: 32 }, (_, at) => Number.parseInt(hex.slice(2 * at, 2 * at + 2), 16))
}

function bad(why: string): ForetokenError {
  return new ForetokenError('bad_kv', `the stream of K and V can't be used: ${why}`)
}

function damaged(what: string): ForetokenError {
  return new ForetokenError('checksum', `${what} is damaged: its CRC-32 does not match; ask for the stream again`)
}
