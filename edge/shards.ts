/**
 * Reads weights in shards as one `ByteSource`. No byte is returned before the SHA-256 of its chunk
 * was checked. Two chunks of 1 MiB are held, one in use and one being read; from there bytes are
 * copied into wasm memory. (A stream can't read into wasm memory directly: it takes ownership of
 * the buffer that it fills, and a wasm memory's buffer can't be transferred.)
 */
import { at, type ByteSource, ForetokenError, isWhole, sha256Hex } from '../src/index.ts'
import { chunkBytes, type Shard, type Split } from './manifest.ts'
import type { ShardStore } from './stores.ts'
import { StreamFiller } from './stream-filler.ts'

/** Number of attempts to read a chunk before loading fails. */
const attempts = 4

interface Chunk {
  readonly index: number
  readonly bytes: Promise<Uint8Array<ArrayBuffer>>
}

export interface ShardSource extends ByteSource {
  /** Closes streams and drops chunks. A later read opens them again. */
  close(): Promise<void>
}

/**
 * Returns the shards of `split` as one source. Its reads reject with `not_found`, `io`, and
 * `checksum` for bytes that do not match the manifest.
 */
export function shardSource(name: string, store: ShardStore, { bytes: size, shards }: Split): ShardSource {
  const places = placesOf(shards)
  const reader = new ChunkReader(store)
  let held: Chunk | undefined
  let next: Chunk | undefined

  const start = (index: number): Chunk => {
    const bytes = reader.chunk(at(places, index))
    // A failure is reported by the read that uses the chunk.
    bytes.catch(() => {})
    return { index, bytes }
  }
  const chunk = async (index: number): Promise<Uint8Array<ArrayBuffer>> => {
    if (held?.index !== index) {
      const found = next?.index === index ? next : undefined
      // Chunks are read one after the other, so an unused one must finish first.
      if (!found) await next?.bytes.catch(() => {})
      // The used buffer is filled again. Otherwise a hundred megabytes of chunks would wait for the
      // garbage collector.
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
        const position = offset + done
        const bytes = await chunk(Math.floor(position / chunkBytes))
        const begin = position % chunkBytes
        const part = bytes.subarray(begin, begin + into.length - done)
        into.set(part, done)
        done += part.length
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

/** Position of a chunk in its shard. */
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

/** Reads chunks one after the other, from one stream while they are consecutive. */
class ChunkReader {
  readonly #store: ShardStore
  /** A chunk that is no longer used. */
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
