/**
 * Weights in shards as one `ByteSource`, of which no byte is given out before its chunk's SHA-256 was right. Two chunks of 1 MiB are
 * held, one in use and one on its way; from there bytes go straight into wasm memory. (A stream cannot read into wasm memory itself: it takes
 * the buffer that it fills for its own, and that of a wasm memory can't be given away.)
 */
import { type ByteSource, ForetokenError, isWhole, sha256Hex } from '../src/index.ts'
import { chunkBytes, type Shard, type Split } from './manifest.ts'
import type { ShardStore } from './stores.ts'
import { StreamFiller } from './stream-filler.ts'

/** How often a chunk is asked for before loading fails. */
const attempts = 4

interface Chunk {
  readonly index: number
  readonly bytes: Promise<Uint8Array<ArrayBuffer>>
}

export interface ShardSource extends ByteSource {
  /** Lets go of streams and chunks. Reads after it begin anew. */
  close(): Promise<void>
}

/** Throws `not_found`, `io`, and `checksum` for bytes that are not those of the manifest. */
export function shardSource(name: string, store: ShardStore, { bytes: size, shards }: Split): ShardSource {
  const places = placesOf(shards)
  const reader = new ChunkReader(store)
  let held: Chunk | undefined
  let next: Chunk | undefined

  const start = (index: number): Chunk => {
    const bytes = reader.chunk(places[index]!)
    // Its failure is met when its turn comes.
    bytes.catch(() => {})
    return { index, bytes }
  }
  const chunk = async (index: number): Promise<Uint8Array<ArrayBuffer>> => {
    if (held?.index !== index) {
      const found = next?.index === index ? next : undefined
      // A reader goes one way: what was asked for in vain is waited for first.
      if (!found) await next?.bytes.catch(() => {})
      // What was used is filled again: a hundred megabytes of chunks would else wait for the collector.
      reader.spare = await held?.bytes.catch(() => undefined)
      held = found ?? start(index)
      next = undefined
    }
    const bytes = await held.bytes
    if (!next && index + 1 < places.length) next = start(index + 1)
    return bytes
  }

  return {
    name,
    size,
    async read(offset, into) {
      if (!isWhole(offset, 0, size - into.length))
        throw new ForetokenError('io', `${name}: ${into.length} bytes at ${offset} are outside of its ${size} bytes`)
      for (let done = 0; done < into.length; ) {
        const at = offset + done
        const bytes = await chunk(Math.floor(at / chunkBytes))
        const piece = bytes.subarray(at % chunkBytes, (at % chunkBytes) + into.length - done)
        into.set(piece, done)
        done += piece.length
      }
    },
    async close() {
      await next?.bytes.catch(() => {})
      held = undefined
      next = undefined
      await reader.close()
    },
  }
}

/** A chunk within its shard. */
interface Place {
  readonly shard: Shard
  readonly offset: number
  readonly bytes: number
  readonly sha256: string
}

function placesOf(shards: readonly Shard[]): Place[] {
  return shards.flatMap((shard) =>
    shard.chunks.map((sha256, index) => {
      const offset = index * chunkBytes
      return { shard, offset, bytes: Math.min(chunkBytes, shard.bytes - offset), sha256 }
    }),
  )
}

/** Chunks one after the other, from one stream for as long as they follow each other. */
class ChunkReader {
  readonly #store: ShardStore
  /** A chunk that nobody reads any more. */
  spare: Uint8Array<ArrayBuffer> | undefined
  #open: { shard: Shard; at: number; filler: StreamFiller } | undefined
  #queue: Promise<unknown> = Promise.resolve()

  constructor(store: ShardStore) {
    this.#store = store
  }

  chunk(place: Place): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = this.#queue.then(() => this.#persist(place))
    this.#queue = bytes.catch(() => {})
    return bytes
  }

  async close(): Promise<void> {
    await this.#queue
    await this.#drop()
  }

  async #persist(place: Place): Promise<Uint8Array<ArrayBuffer>> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#read(place)
      } catch (error) {
        await this.#drop()
        const lasting = error instanceof ForetokenError && error.code === 'not_found'
        if (lasting || attempt === attempts) throw error
      }
    }
  }

  async #read({ shard, offset, bytes, sha256 }: Place): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#open?.shard !== shard || this.#open.at !== offset) {
      await this.#drop()
      const filler = new StreamFiller(await this.#store.open(shard.file, offset))
      this.#open = { shard, at: offset, filler }
    }
    const open = this.#open
    const chunk = await open.filler.fill(bytes, this.#buffer())
    open.at += bytes
    if ((await sha256Hex(chunk)) !== sha256)
      throw new ForetokenError(
        'checksum',
        `bytes ${offset}..${offset + bytes} of ${shard.file} are not those that were prepared; upload the file again`,
      )
    if (open.at === shard.bytes) await this.#drop()
    return chunk
  }

  #buffer(): ArrayBuffer {
    const spare = this.spare?.buffer
    this.spare = undefined
    return spare?.byteLength === chunkBytes ? spare : new ArrayBuffer(chunkBytes)
  }

  async #drop(): Promise<void> {
    const open = this.#open
    this.#open = undefined
    await open?.filler.cancel()
  }
}
