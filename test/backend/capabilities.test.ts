/**
 * A feature that a backend lacks is refused by name when it is used, and no other use of an engine
 * needs it.
 */
import { describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import type { Backend } from '../../src/backend/backend.ts'
import { fittingOf, wireOf } from '../../src/backend/capabilities.ts'
import { createWasmBackend } from '../../src/backend/wasm/backend.ts'
import { Engine } from '../../src/index.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('simd128')

/** A backend with the interface of the forward and no capability. */
async function bare(): Promise<Backend> {
  const whole = await createWasmBackend({ modules: wasm, build: 'simd128' })
  const none = new Set<string | symbol>(['fitting', 'bench', 'wire', 'shortlists'])
  return new Proxy(whole, {
    get(target, name) {
      if (none.has(name)) return undefined
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

describe('a backend without capabilities', () => {
  test('runs requests, and refuses to send K and V', async () => {
    const engine = await Engine.load(tinyFiles(), { wasm, backend: await bare() })
    try {
      const { ids } = await engine.submit({ prompt: [1, 2, 3], maxTokens: 4 }).result()
      expect(ids.length).toBeGreaterThan(0)
      const stream = engine.kvOf([1, 2, 3], { codec: 'f32', key: new Uint8Array(32) })
      await expect(stream.next()).rejects.toMatchObject({
        code: 'unsupported',
        message: expect.stringMatching(/can't send or receive K and V/),
      })
    } finally {
      await engine.close()
    }
  })

  test('does not fit predictors', async () => {
    const backend = await bare()
    expect(() => fittingOf(backend)).toThrow(expect.objectContaining({ code: 'unsupported' }))
    await expect(wireOf(backend).encodeKv({} as never, {} as never, { codec: 'f32' })).rejects.toMatchObject({
      code: 'unsupported',
    })
    await backend.close()
  })
})
