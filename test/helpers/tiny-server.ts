/** Starts the app over a tiny model; every host's tests use it. */
import { createHash } from 'node:crypto'
import type { ServerConfig } from '../../edge/index.ts'
import { loadWasm } from '../../node/index.ts'
import { Engine, type EngineOptions } from '../../src/index.ts'
import { tinyFiles } from './tiny-model.ts'

export const testKeys = { one: 'key-of-one', two: 'key-of-two' } as const

export const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

export const testConfig: ServerConfig = {
  listen: 'public',
  keys: [
    { sha256: sha256(testKeys.one), tenant: 'one', metrics: true },
    { sha256: sha256(testKeys.two), tenant: 'two' },
  ],
}

/** Loads the engine with one thread and `context` tokens of context. */
export async function tinyEngine(options: Partial<EngineOptions> = {}, context = 1024): Promise<Engine> {
  return Engine.load(tinyFiles({ context }), { wasm: await loadWasm('simd128', 1), threads: 1, ...options })
}
