/** Weights in shards as one source: whatever the store does, bytes are right or the load fails with its reason. */
import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { chunkBytes, type Manifest, readManifest, type Shard, type Split } from '../../edge/manifest.ts'
import { fetchManifest } from '../../edge/prepared.ts'
import { shardSource } from '../../edge/shards.ts'
import { assetStore, kvStore, r2Store, type ShardStore } from '../../edge/stores.ts'
import { random } from '../helpers/random.ts'
import { withValue } from '../helpers/with-value.ts'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const size = 3 * chunkBytes + 12_345
const rng = random(3)
const content = Uint8Array.from({ length: size }, () => rng.below(256))

/** In shards of two chunks. */
function cut(bytes: Uint8Array): { split: Split; files: Map<string, Uint8Array> } {
  const files = new Map<string, Uint8Array>()
  const shards: Shard[] = []
  for (let at = 0; at < bytes.length; at += 2 * chunkBytes) {
    const part = bytes.subarray(at, at + 2 * chunkBytes)
    const chunks = [part.subarray(0, chunkBytes), part.subarray(chunkBytes)].filter(({ length }) => length > 0)
    const file = `weights-${shards.length}.bin`
    files.set(file, part)
    shards.push({ file, bytes: part.length, sha256: sha256(part), chunks: chunks.map(sha256) })
  }
  return { split: { bytes: bytes.length, shards }, files }
}

interface Behaviour {
  /** Byte streams can read into a buffer; others give pieces of their own. */
  readonly type?: 'bytes'
  /** Called with each opening; may throw, or say where the stream breaks. */
  readonly onOpen?: (file: string, offset: number) => { breaksAt?: number; endsAt?: number } | undefined
}

function fakeStore(files: ReadonlyMap<string, Uint8Array>, { type, onOpen }: Behaviour = {}): ShardStore {
  return {
    async open(file, offset) {
      const { breaksAt = Infinity, endsAt = Infinity } = onOpen?.(file, offset) ?? {}
      const bytes = files.get(file)!
      let at = offset
      const source = {
        ...(type && { type }),
        pull(controller: {
          enqueue(piece: Uint8Array): void
          close(): void
          error(reason: Error): void
          byobRequest?: { respond(bytes: number): void }
        }) {
          if (at >= breaksAt) return controller.error(new Error('the connection was reset'))
          const piece = bytes.slice(at, Math.min(at + 4096 * 7 + 1, breaksAt, endsAt))
          at += piece.length
          if (piece.length > 0) return controller.enqueue(piece)
          controller.close()
          controller.byobRequest?.respond(0)
        },
      }
      return new ReadableStream(source as UnderlyingByteSource) as ReadableStream<Uint8Array>
    },
  }
}

async function readAll(store: ShardStore, split: Split, step = 700_001): Promise<Uint8Array> {
  const source = shardSource('weights', store, split)
  const all = new Uint8Array(split.bytes)
  try {
    for (let at = 0; at < all.length; at += step)
      await source.read(at, all.subarray(at, Math.min(all.length, at + step)))
  } finally {
    await source.close()
  }
  return all
}

const same = (a: Uint8Array, b: Uint8Array) => expect(Buffer.compare(a, b)).toBe(0)

describe.each([undefined, 'bytes'] as const)('streams of type %s', (type) => {
  const { split, files } = cut(content)

  test('give every byte, with one request per shard', async () => {
    const opened: string[] = []
    const onOpen = (file: string, offset: number) => void opened.push(`${file} ${offset}`)
    same(await readAll(fakeStore(files, { ...(type && { type }), onOpen }), split), content)
    expect(opened).toEqual(['weights-0.bin 0', 'weights-1.bin 0'])
  })

  test('resume where they broke off', async () => {
    const opened: number[] = []
    const onOpen = (file: string, offset: number) => {
      if (file !== 'weights-0.bin') return undefined
      opened.push(offset)
      return opened.length === 1 ? { breaksAt: chunkBytes + 1000 } : undefined
    }
    same(await readAll(fakeStore(files, { ...(type && { type }), onOpen }), split), content)
    expect(opened).toEqual([0, chunkBytes])
  })

  test('that end too soon fail as io, after several attempts', async () => {
    let opened = 0
    const onOpen = () => {
      opened++
      return { endsAt: 5000 }
    }
    const reading = readAll(fakeStore(files, { ...(type && { type }), onOpen }), split)
    await expect(reading).rejects.toMatchObject({ code: 'io', message: expect.stringContaining('5000 of the 1048576') })
    expect(opened).toBe(4)
  })

  test('with one altered byte fail as checksum, and emit nothing of that chunk', async () => {
    const altered = new Map(files)
    const bytes = content.slice(0, 2 * chunkBytes)
    bytes[chunkBytes + 7]! ^= 1
    altered.set('weights-0.bin', bytes)
    const source = shardSource('weights', fakeStore(altered, type && { type }), split)
    const into = new Uint8Array(chunkBytes)
    await source.read(0, into)
    same(into, content.subarray(0, chunkBytes))
    const second = new Uint8Array(100)
    await expect(source.read(chunkBytes, second)).rejects.toMatchObject({ code: 'checksum' })
    expect(second.every((byte) => byte === 0)).toBe(true)
    await source.close()
  })
})

test('can be read in any order', async () => {
  const { split, files } = cut(content)
  const source = shardSource('weights', fakeStore(files), split)
  for (const [at, length] of [
    [size - 5, 5],
    [0, 10],
    [chunkBytes - 3, 6],
    [2 * chunkBytes - 1, 2],
    [5, 1],
  ] as const) {
    const into = new Uint8Array(length)
    await source.read(at, into)
    same(into, content.subarray(at, at + length))
  }
  await expect(source.read(size - 1, new Uint8Array(2))).rejects.toMatchObject({ code: 'io' })
  await source.close()
})

describe('stores', () => {
  const { split, files } = cut(content)
  const body = (bytes: Uint8Array) => new Response(bytes as Uint8Array<ArrayBuffer>).body!

  /** The first stream of each file breaks in the middle. */
  function breaking() {
    const seen = new Set<string>()
    return (file: string, from: number): ReadableStream<Uint8Array> => {
      const first = !seen.has(file)
      seen.add(file)
      const bytes = files.get(file)!.slice(from, first ? 600_000 : undefined)
      if (!first) return body(bytes)
      const reader = body(bytes).getReader()
      return new ReadableStream({
        async pull(controller) {
          const { value, done } = await reader.read()
          if (done) controller.error(new Error('reset'))
          else controller.enqueue(value)
        },
      })
    }
  }

  test('R2, with a prefix, by range', async () => {
    const open = breaking()
    const keys: string[] = []
    const store = r2Store(
      {
        async get(key, options) {
          keys.push(`${key} ${options?.range.offset ?? '-'}`)
          return { body: open(key.slice(2), options?.range.offset ?? 0) }
        },
      },
      'm/',
    )
    same(await readAll(store, split), content)
    expect(keys).toContain('m/weights-0.bin -')
  })

  test.each([true, false])('assets, ranges honoured: %s', async (ranges) => {
    const open = breaking()
    const store = assetStore(
      {
        async fetch(request) {
          const [, from] = /bytes=(\d+)-/.exec(request.headers.get('range') ?? '') ?? []
          const file = new URL(request.url).pathname.slice(1)
          return new Response(open(file, ranges ? Number(from ?? 0) : 0), { status: ranges && from ? 206 : 200 })
        },
      },
      '',
    )
    same(await readAll(store, split), content)
  })

  test('KV skips what was read', async () => {
    const open = breaking()
    same(await readAll(kvStore({ get: async (key) => open(key, 0) }, ''), split), content)
  })

  test.each<[string, ShardStore]>([
    ['R2', r2Store({ get: async () => null }, '')],
    ['KV', kvStore({ get: async () => null }, '')],
    ['assets', assetStore({ fetch: async () => new Response('', { status: 404 }) }, '')],
  ])('%s reports at once what is missing', async (_, store) => {
    await expect(readAll(store, split)).rejects.toMatchObject({ code: 'not_found' })
  })

  test.each<[string, ShardStore]>([
    ['R2', r2Store({ get: () => Promise.reject(new Error('internal error (10001)')) }, '')],
    ['R2 without a body', r2Store({ get: async () => ({}) }, '')],
    ['assets', assetStore({ fetch: async () => new Response('', { status: 500 }) }, '')],
  ])('%s that fails is reported as io', async (_, store) => {
    await expect(readAll(store, split)).rejects.toMatchObject({ code: 'io' })
  })
})

describe('a manifest', () => {
  const manifest = (): Manifest => ({
    format: 'foretoken deploy',
    version: 1,
    model: 'tiny',
    chunk: chunkBytes,
    weights: cut(content).split,
    settings: { context: 64, kvTokens: 64, kv: 'int8', passTokens: 16, streams: 2 },
    plan: { total: 1 },
  })

  test('reads back as written', () => expect(readManifest(JSON.stringify(manifest()))).toEqual(manifest()))

  test.each<[string, string, unknown]>([
    ['another format', 'format', 'x'],
    ['another version', 'version', 2],
    ['an unknown field', 'more', 1],
    ['a path for a file', 'weights.shards.0.file', '../secret'],
    ['bytes that do not add up', 'weights.bytes', size + 1],
    ['a missing hash', 'weights.shards.0.chunks', ['0'.repeat(64)]],
    ['a hash that is none', 'weights.shards.0.chunks.0', 'abc'],
    ['a shard cut inside a chunk', 'weights.shards.0.bytes', 2 * chunkBytes - 1],
    ['a pass of a million tokens', 'settings.passTokens', 1e6],
  ])('with %s is refused', (_, path, value) => {
    const wrong = JSON.stringify(withValue(manifest(), path.split('.'), value))
    expect(() => readManifest(wrong)).toThrow(expect.objectContaining({ code: 'bad_model' }))
  })

  test('that is not JSON, too large, or not the promised one', async () => {
    expect(() => readManifest('{')).toThrow(expect.objectContaining({ code: 'bad_model' }))
    const store = (bytes: Uint8Array) =>
      r2Store({ get: async () => ({ body: new Response(bytes as Uint8Array<ArrayBuffer>).body! }) }, '')
    await expect(fetchManifest(store(new Uint8Array((1 << 20) + 1)))).rejects.toMatchObject({ code: 'bad_model' })
    const bytes = new TextEncoder().encode(JSON.stringify(manifest()))
    await expect(fetchManifest(store(bytes), sha256(bytes))).resolves.toEqual(manifest())
    await expect(fetchManifest(store(bytes), sha256(content))).rejects.toMatchObject({ code: 'checksum' })
  })
})
