/** Which weights a model has does not depend on who reads them, and how. */

import { expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { createWasmBackend } from '../../src/backend/wasm/backend.ts'
import { Engine } from '../../src/index.ts'
import { WeightIdentity } from '../../src/model/identity.ts'
import fc from '../helpers/properties.ts'
import { random } from '../helpers/random.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const bytes = random(4).bytes(700_000)

function identityOf(matrix: Uint8Array, rowBytes: number, cuts: readonly number[]): Promise<string> {
  const identity = new WeightIdentity()
  const samples = identity.matrix(matrix.length, rowBytes)
  const places = [...new Set([0, ...cuts.filter((cut) => cut < matrix.length), matrix.length])].sort((a, b) => a - b)
  for (let at = 1; at < places.length; at++) samples.add(matrix.subarray(places[at - 1], places[at]))
  return identity.finish('shape')
}

test('a matrix read in pieces of any length has the same identity', async () => {
  const whole = await identityOf(bytes, 700, [])
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(bytes.length), { maxLength: 40 }), async (cuts) => {
      expect(await identityOf(bytes, 700, cuts)).toBe(whole)
    }),
    { numRuns: 40 },
  )
})

test('another matrix or shape has another identity', async () => {
  const changed = bytes.slice()
  changed[10]! ^= 1
  expect(await identityOf(changed, 700, [])).not.toBe(await identityOf(bytes, 700, []))
  const [one, two] = [new WeightIdentity(), new WeightIdentity()]
  expect(await one.finish('a')).not.toBe(await two.finish('b'))
})

test('a backend that uploads bytes in other pieces loads the same model', async () => {
  const wasm = await loadWasm('auto', 1)
  const backend = await createWasmBackend({ modules: wasm })
  const sips = new Proxy(backend, {
    get(target, name) {
      if (name === 'weight')
        return (spec: Parameters<typeof backend.weight>[0]) => {
          const writer = target.weight(spec)
          return { ...writer, reserve: (count: number) => writer.reserve(Math.min(count, 3001)) }
        }
      const value = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  const plain = await Engine.load(tinyFiles(), { wasm })
  const sipped = await Engine.load(tinyFiles(), { wasm, backend: sips })
  expect(sipped.identity).toBe(plain.identity)
  await Promise.all([plain.close(), sipped.close()])
})

test('another vocabulary changes the identity, for traded K and V and for a model that predicts', async () => {
  const wasm = await loadWasm('auto', 1)
  const texts = Array.from({ length: 259 }, (_, id) => String.fromCodePoint(0x100 + id))
  const other = [...texts]
  ;[other[7], other[8]] = [texts[8]!, texts[7]!]
  const files = (tokens: string[]) => tinyFiles({ metadata: { 'tokenizer.ggml.tokens': { texts: tokens } } })
  const [one, same, swapped] = await Promise.all(
    [texts, texts, other].map((tokens) => Engine.load(files(tokens), { wasm })),
  )
  const { tokenizer } = await one!.kvIdentity()
  expect((await same!.kvIdentity()).tokenizer).toBe(tokenizer)
  expect((await swapped!.kvIdentity()).tokenizer).not.toBe(tokenizer)
  await Promise.all([one, same, swapped].map((engine) => engine!.close()))
  const apart = Engine.load(files(texts), { wasm, auxiliary: files(other) })
  await expect(apart).rejects.toMatchObject({
    code: 'wrong_model',
    message: expect.stringContaining('another vocabulary'),
  })
})
