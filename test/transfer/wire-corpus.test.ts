/** Stored streams of K and V (test/corpus/make-wire.ts), and a short run of the fuzzer. */
import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { cut } from '../helpers/wire.ts'
import { fuzzWire, mostAllocated, wireWorld } from '../suites/wire-fuzz.ts'

const folder = new URL('../corpus/wire/', import.meta.url)
const files = readdirSync(folder)
const world = await wireWorld(await loadWasm('auto', 1))
afterAll(() => world.close())

test('the corpus exists', () => expect(files.length).toBeGreaterThan(15))

test.each(files)('%s', async (file) => {
  const bytes = new Uint8Array(readFileSync(new URL(file, folder)))
  for (const kv of ['f32', 'f16', 'int8'] as const)
    expect(await world.read(cut(bytes, [1, 100, 300]), kv)).toBe(file.slice(0, file.indexOf('-')))
})

test('hostile streams are refused, without side effects', async () => {
  const { inputs, codes, most_allocated } = await fuzzWire(world, 1500, Infinity, 20)
  expect(inputs).toBe(1500)
  for (const code of ['read', 'bad_kv', 'bad_mac', 'checksum', 'wrong_model'])
    expect(codes[code], code).toBeGreaterThan(0)
  expect(most_allocated).toBeLessThanOrEqual(mostAllocated)
})
