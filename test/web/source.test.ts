/** Tests files of a browser as sources of weights: every byte, across the boundaries of reads. */
import { expect, test } from 'vitest'
import { blobSource } from '../../web/blob-source.ts'
import { handleSource } from '../../web/handle-source.ts'

const size = (9 << 20) + 3
const bytes = Uint8Array.from({ length: size }, (_, at) => (at * 7 + (at >> 12)) & 255)

/** As a browser gives it; `short`: at most so many bytes a reading. */
function handleOf(short = Infinity) {
  const state = { closed: false, readings: 0 }
  const held = {
    getSize: () => size,
    read(into: Uint8Array, { at = 0 }: { at?: number } = {}) {
      state.readings++
      const some = bytes.subarray(at, at + Math.min(into.length, short))
      into.set(some)
      return some.length
    },
    close: () => {
      state.closed = true
    },
  }
  return { state, file: { createSyncAccessHandle: async () => held } as unknown as FileSystemFileHandle }
}

const spans = [
  [0, 10],
  [(4 << 20) - 5, 10],
  [(8 << 20) - 1, 2],
  [5, size - 5],
  [size - 1, 1],
  [0, size],
] as const

test.each(['blob', 'handle', 'handle that gives less than is asked for'])('%s', async (kind) => {
  const { state, file } = handleOf(kind.endsWith('for') ? 1 << 19 : Infinity)
  const source = kind === 'blob' ? blobSource('a', new Blob([bytes])) : (await handleSource('a', file))!
  expect(source.size).toBe(size)
  for (const [offset, length] of spans) {
    const into = new Uint8Array(new SharedArrayBuffer(length))
    await source.read(offset, into)
    expect(Buffer.compare(into, bytes.subarray(offset, offset + length)), `${offset}+${length}`).toBe(0)
  }
  await expect(source.read(size - 1, new Uint8Array(2))).rejects.toMatchObject({ code: 'io' })
  if ('close' in source) (source as { close(): void }).close()
  expect(state.closed).toBe(kind !== 'blob')
})

test('a handle reads ahead: small pieces need few reads', async () => {
  const { state, file } = handleOf()
  const source = (await handleSource('a', file))!
  for (let at = 0; at + 4096 <= size; at += 4096) await source.read(at, new Uint8Array(4096))
  expect(state.readings).toBeLessThanOrEqual(3)
})

test('a file that cannot be opened has no handle; one that ends early is reported', async () => {
  const refused = { createSyncAccessHandle: () => Promise.reject(new Error('locked')) }
  expect(await handleSource('a', refused as unknown as FileSystemFileHandle)).toBeUndefined()
  const source = (await handleSource('a', handleOf(0).file))!
  await expect(source.read(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'io', message: /ends at byte 0 of/ })
})
