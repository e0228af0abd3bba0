/** Prompts for tiny models, and readers of their answers. */
import { expect } from 'vitest'
import type { DoneEvent, Engine, GenerateRequest } from '../../src/index.ts'
import { random } from './random.ts'

/** Returns a random prompt of byte tokens of a tiny model. */
export function randomPrompt(length: number, seed: number): number[] {
  const rng = random(seed)
  return Array.from({ length }, () => rng.below(256))
}

/** Collects the ids and log-probabilities of an answer, and its end. */
export async function answer(engine: Engine, request: GenerateRequest) {
  const tokens: { id: number; logprob: number }[] = []
  let done: DoneEvent | undefined
  for await (const event of engine.submit({ ignoreEos: true, topLogprobs: 3, ...request })) {
    if (event.type === 'token') tokens.push({ id: event.id, logprob: event.logprob })
    if (event.type === 'done') done = event
  }
  return { tokens, done: done! }
}

/** Returns the largest difference between two vectors of one length. */
export function apart(a: Float32Array, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length)
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i]!)), 0)
}
