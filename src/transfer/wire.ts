/**
 * Writes and reads K and V on the wire: one engine streams what it has computed of a prompt to
 * another engine with the same model. This is version 1.
 *
 * All numbers are little-endian. A stream is a head, tiles in order, and a MAC; nothing follows.
 *
 *     head
 *     0    8 bytes  "FTKVWIRE"
 *     8    u16      version, 1
 *     10   u16      codec: 0 f32, 1 f16, 2 int8, 3 int4, 4 residual
 *     12   u32      bytes of the head, H = 256 + those of the table
 *     16   u32      from: first position, a multiple of 16; the receiver holds those before it
 *     20   u32      to: position after the last
 *     24   u32      tokens of the prompt. For `residual` those that the prediction was made for, at
 *                   least `to`; else `to`
 *     28   u16      first layer; those below are not sent. For `residual` the receiver's own are
 *                   exact; else 0
 *     30   u16      layers of the model
 *     32   u16      KV heads of the layer that has the most
 *     34   u16      values of a head
 *     36   u16      T: tokens of a tile, 32 to 256, a multiple of 32
 *     38   u16      L: layers of a tile
 *     40   u32      tiles
 *     44   u32      maximum bytes of a tile's payload, at most 4 MiB
 *     48   u32      bytes of the table, at most 65,280; 0 except for `residual`
 *     52   8 bytes  zero
 *     60   u32      CRC-32 of the head, these 4 bytes taken as zero
 *     64   32       SHA-256: the model's identity (its weights)
 *     96   32       SHA-256: its vocabulary
 *     128  32       SHA-256: its RoPE
 *     160  32       SHA-256: the predictor's file; zero except for `residual`
 *     192  32       SHA-256: token ids 0..to - 1, u32 each
 *     224  32       zero
 *     256           the table, see transfer/residual.ts
 *
 *     tile, `tiles` times: tokens from + T i.. of layers first + L j.., layers within tokens; the
 *     last of both may be smaller
 *     0    u32      number, from 0
 *     4    u32      first position
 *     8    u32      position after the last
 *     12   u16      first layer
 *     14   u16      layer after the last
 *     16   u32      bytes of the payload
 *     20   u32      CRC-32 of the 20 bytes before and of the payload
 *     24            payload
 *
 *     MAC
 *     0    32       HMAC-SHA-256(key, "foretoken kv wire 1\0", u32 bytes of the context, context,
 *                   chain)
 *
 * `chain` is SHA-256(head) at first, and after each tile SHA-256(chain, SHA-256(tile)), with the
 * head of the tile. The context is the caller's text in UTF-8, such as a request's nonce. Both ends
 * know it, so it is not sent.
 *
 * A payload holds its layers one after the other: in each layer K, then V, head by head, and for
 * each head groups of n tokens. n is 32, or less in the last group. K includes its position
 * embedding, as it does in pages. D is the number of values of a head:
 *
 *     f32      K f32 (D, n), V f32 (n, D)
 *     f16      the same in binary16
 *     int8     f32 scales (n), then K i8 (D, n) or V i8 (n, D): a scale for each head and token,
 *              value = scale * i8
 *     int4     rows of at most 32 values: K (D rows of n tokens), V (n rows of D, cut every 32):
 *              binary16 d, binary16 m, then ceil(w / 2) bytes for w values: byte i holds value i
 *              (low 4 bits) and i + ceil(w / 2); value = d * q + m
 *     residual see transfer/residual.ts
 *
 * So each tile decodes alone, and except for `residual` its size follows from its shape. A reader
 * allocates nothing larger than a tile, and nothing before it has checked the head against its own
 * model. What it writes before the MAC was checked must not be used.
 */
import { joinBytes } from '../base/bytes.ts'
import { ForetokenError } from '../base/errors.ts'
import { fromHex, sha256 } from '../base/hash.ts'
import { wireCodecs } from '../base/kv-codec.ts'
import { ByteReader } from './byte-reader.ts'
import { checkCrc, checkTile, type ReadOptions, readHead } from './checks.ts'
import { crc32 } from './crc32.ts'
import { hashOfIds } from './digest.ts'
import { headBytes, type KvRange, macBytes, magic, tileHeadBytes, version, type WireBinding } from './format.ts'
import { tileCount, tilesOf, type WireTile } from './tiles.ts'

/**
 * Yields the pieces of a stream. `payload` is called for each tile in order, once the tile before
 * was consumed.
 */
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

/**
 * Reads a stream, cut anywhere, to its end. Throws `bad_kv` if it is not such a stream, truncated,
 * out of order, for other tokens, or followed by more; also `wrong_model`, `checksum`, `bad_mac`,
 * `aborted`, and what the stream and the callbacks throw.
 */
export async function readWire(
  body: AsyncIterable<Uint8Array>,
  binding: WireBinding,
  options: ReadOptions,
): Promise<{ readonly range: KvRange; readonly bytes: number }> {
  const reader = new ByteReader(body, options.signal)
  try {
    const seal = new Seal(binding.key)
    const { head, range } = await readHead(reader, binding, options)
    await seal.begin(head)
    const expected = options.accept(range)
    let buffer = new Uint8Array(0)
    for (const tile of tilesOf(binding.shape, range)) {
      const front = new Uint8Array(tileHeadBytes)
      await reader.fill(front, `the head of tile ${tile.index}`)
      const length = checkTile(front, tile, expected(tile), range.mostBytes)
      if (buffer.length < tileHeadBytes + length) buffer = new Uint8Array(tileHeadBytes + length)
      const bytes = buffer.subarray(0, tileHeadBytes + length)
      bytes.set(front)
      await reader.fill(bytes.subarray(tileHeadBytes), `tile ${tile.index}`)
      checkCrc(bytes, tile)
      await seal.add(bytes)
      await options.tile(tile, bytes.subarray(tileHeadBytes), range)
    }
    const mac = new Uint8Array(macBytes)
    await reader.fill(mac, 'its MAC')
    if (!(await seal.verify(mac, binding.context)))
      throw new ForetokenError(
        'bad_mac',
        `the MAC of ${reader.bytesRead} bytes does not match: they were changed, or made with another key or for another request`,
      )
    await reader.end()
    return { range, bytes: reader.bytesRead }
  } finally {
    reader.close()
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
  head.set(fromHex(identity.model, 32), 64)
  head.set(fromHex(identity.tokenizer, 32), 96)
  head.set(fromHex(identity.rope, 32), 128)
  if (codec === 'residual') head.set(fromHex(identity.predictor ?? '', 32), 160)
  head.set(await hashOfIds(binding.ids, to), 192)
  head.set(table, headBytes)
  view.setUint32(60, crc32(head), true)
  return head
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

/**
 * Computes the MAC of a stream as it passes. WebCrypto's HMAC takes whole messages only, so this
 * seals a chain of hashes.
 */
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
    this.#chain = await sha256(joinBytes([this.#chain, await sha256(tile)]))
  }

  async mac(context?: string): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await crypto.subtle.sign('HMAC', await this.#key, this.#message(context)))
  }

  /** Compares in constant time. */
  async verify(mac: Uint8Array<ArrayBuffer>, context?: string): Promise<boolean> {
    return crypto.subtle.verify('HMAC', await this.#key, mac, this.#message(context))
  }

  #message(context = ''): Uint8Array<ArrayBuffer> {
    const text = new TextEncoder().encode(context)
    const length = new DataView(new ArrayBuffer(4))
    length.setUint32(0, text.length, true)
    return joinBytes([
      new TextEncoder().encode('foretoken kv wire 1\0'),
      new Uint8Array(length.buffer),
      text,
      this.#chain,
    ])
  }
}
