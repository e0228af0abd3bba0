/** Reads golden files, and compares an engine with them. */
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { folderFiles } from '../../node/model-files.ts'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type EngineOptions, type Message, type ModelFiles } from '../../src/index.ts'

const version = 1

export interface GoldenCase {
  readonly name: string
  readonly prompt?: string
  readonly messages?: readonly Message[]
  readonly ids: readonly number[]
  /** The likeliest next tokens: [id, log-probability]. */
  readonly top: readonly (readonly [number, number])[]
  readonly greedy: readonly number[]
  /** First logit minus the second, at each greedy step. */
  readonly margins: readonly number[]
}

export interface Golden {
  readonly cases: readonly GoldenCase[]
}

export const vectors = new URL('../vectors/', import.meta.url)

/** The golden file `name` under test/vectors. Refuses one that is stale, with the command that makes it anew. */
export function readGolden<T = Golden>(name: string, kind: string): T {
  const golden = JSON.parse(readFileSync(new URL(name, vectors), 'utf8'))
  if (golden.magic !== 'foretoken-golden' || golden.version !== version || golden.kind !== kind)
    throw new Error(
      `test/vectors/${name} is ${golden.magic} ${golden.kind} version ${golden.version}, and not ${kind} version ${version}; ` +
        `make it anew: ${golden.made_by ?? 'see the scripts in test/vectors'}`,
    )
  return golden
}

export async function loadGolden(files: ModelFiles, options: Omit<EngineOptions, 'wasm'> = {}): Promise<Engine> {
  return Engine.load(files, { ...options, wasm: await loadWasm(options.build ?? 'auto') })
}

export async function loadFolder(path: string, options: Omit<EngineOptions, 'wasm'> = {}): Promise<Engine> {
  const files = await folderFiles(path)
  try {
    return await loadGolden(files, options)
  } finally {
    await files.close()
  }
}

/** Returns the place of data that is not part of the repository but beside it, or undefined. */
export function besideRepository(path: string): string | undefined {
  const at = fileURLToPath(new URL(`../../../shared/data/${path}`, import.meta.url))
  return existsSync(at) ? at : undefined
}

/** How far logits may be from the reference's. */
export interface Tolerance {
  /** Largest difference of a log-probability, among those above `floor`. */
  readonly logprob: number
  readonly floor: number
  /** Largest mean of these differences. */
  readonly mean?: number
  /** Greedy ids are compared until the reference's margin is below this. */
  readonly margin: number
}

/** Compares the likeliest tokens after a prompt, then the greedy answer as far as it is not a matter of noise. */
export async function compareCase(engine: Engine, expected: GoldenCase, tolerance: Tolerance): Promise<void> {
  const session = await engine.prefill(expected.ids)
  try {
    compareTop(session.logits, expected.top, tolerance)
    for (const [step, id] of expected.greedy.entries()) {
      if (expected.margins[step]! < tolerance.margin) break
      expect(argmax(session.logits), `greedy id ${step} of "${expected.name}"`).toBe(id)
      await session.step(id)
    }
  } finally {
    session.release()
  }
}

export function compareTop(logits: Float32Array, top: GoldenCase['top'], tolerance: Tolerance): void {
  let sum = 0
  for (const logit of logits) sum += Math.exp(logit)
  const differences: number[] = []
  for (const [id, expected] of top) {
    if (expected < tolerance.floor) break
    const logprob = logits[id]! - Math.log(sum)
    const difference = Math.abs(logprob - expected)
    expect(difference, `log-probability of ${id}: ${logprob}, reference ${expected}`).toBeLessThan(tolerance.logprob)
    differences.push(difference)
  }
  expect(differences.length).toBeGreaterThan(0)
  const mean = differences.reduce((total, difference) => total + difference, 0) / differences.length
  expect(mean, 'mean difference').toBeLessThan(tolerance.mean ?? tolerance.logprob)
}

function argmax(logits: Float32Array): number {
  return logits.reduce((best, logit, id) => (logit > logits[best]! ? id : best), 0)
}
