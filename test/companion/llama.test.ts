/**
 * Sends requests to the reader on llama.cpp, with a fake for its one sequence that answers on
 * request.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { openLlama } from '../../companion/llama/reader.ts'
import type { GenerateEvent } from '../../src/index.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

const folder = mkdtempSync(join(tmpdir(), 'llama-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Prompts that were evaluated. */
const evaluated: number[][] = []
/** Lets the answer under way give a token. */
let step: () => void = () => {}

const sequence = {
  async clearHistory() {},
  async *evaluateWithMetadata(ids: number[]) {
    evaluated.push(ids)
    for (;;) {
      await new Promise<void>((resolve) => {
        step = resolve
      })
      yield { token: 7, confidence: 0.5 }
    }
  },
}
vi.doMock('node-llama-cpp', () => ({
  LlamaLogLevel: { error: 'error' },
  getLlama: async () => ({
    gpu: false,
    loadModel: async () => ({
      createContext: async () => ({ getSequence: () => sequence, async dispose() {} }),
      async dispose() {},
    }),
    async dispose() {},
  }),
}))

const turn = () => new Promise((resolve) => setTimeout(resolve, 1))
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await turn()
}

test('a request cancelled while it waits leaves the queue at once, and the next gets its turn', async () => {
  const model = join(folder, 'tiny.gguf')
  writeFileSync(model, tinyGguf())
  const reader = await openLlama({ model, context: 128 })
  const submit = async (id: number, signal?: AbortSignal) => {
    const events: GenerateEvent[] = []
    const request = { prompt: [id], maxTokens: 1, ignoreEos: true, ...(signal && { signal }) }
    for await (const event of reader.submit(request)) events.push(event)
    return events
  }
  const first = submit(1)
  await until(() => evaluated.length === 1)
  const control = new AbortController()
  const cancelled = submit(2, control.signal)
  const third = submit(3)
  expect(reader.stats).toEqual({ running: 1, waiting: 2 })
  control.abort()
  await expect(cancelled).rejects.toMatchObject({ code: 'aborted' })
  // The first answer continues meanwhile.
  expect(reader.stats).toEqual({ running: 1, waiting: 1 })
  step()
  expect((await first).at(-1)).toMatchObject({ type: 'done' })
  await until(() => evaluated.length === 2)
  step()
  await third
  expect(evaluated).toEqual([[1], [3]])
  expect(reader.stats).toEqual({ running: 0, waiting: 0 })
  await reader.close()
})
