/** Measures exact TTFT in this tab, and warms the kernels up before anybody waits. */
import { pageTokens } from '../src/base/kv.ts'
import type { Engine, Message, PromptOptions } from '../src/index.ts'

const oneToken = { maxTokens: 1, ignoreEos: true } as const

type Timed = Pick<Engine, 'promptIds' | 'submit'>

/** Numbers the tenants, because a page without TLS has no `crypto.randomUUID`. */
let timings = 0

/**
 * Measures exact TTFT in milliseconds, with as much of the prompt in the prefix cache as the
 * compared answer found there (`cachedTokens`). Otherwise later questions of a chat would be
 * compared with work that nobody would do. `options` are those of the compared prompt.
 */
export async function exactTtft(
  engine: Timed,
  messages: readonly Message[],
  cachedTokens: number,
  signal: AbortSignal,
  options: PromptOptions = {},
): Promise<number> {
  // A new tenant has an empty cache; the beginning is read into it first.
  const tenant = `timing ${timings++}`
  const beginning = engine.promptIds(messages, options).slice(0, cachedTokens - (cachedTokens % pageTokens))
  if (beginning.length > 0) await engine.submit({ ...oneToken, prompt: beginning, tenant, signal }).result()
  const begun = performance.now()
  for await (const { type } of engine.submit({ ...oneToken, ...options, prompt: messages, tenant, signal }))
    if (type === 'token') break
  return performance.now() - begun
}

/**
 * Reads a conversation into the prefix cache, so that its next question is read alone. Resolves
 * with its length in tokens. Rejects with what `submit` throws.
 */
export async function readAhead(
  engine: Timed,
  messages: readonly Message[],
  signal: AbortSignal,
  options: PromptOptions = {},
): Promise<number> {
  const ids = engine.promptIds(messages, options)
  await engine.submit({ ...oneToken, prompt: ids, signal }).result()
  return ids.length
}

const warmTokens = 96

/**
 * Reads a short prompt in each mode, so that the browser has optimized the kernels before the first
 * question: V8 first compiles them without optimization. `signal` stops it, after one pass at most.
 */
export async function warmUp(engine: Timed & Pick<Engine, 'prediction'>, signal: AbortSignal): Promise<void> {
  const text = 'A short text that says nothing, and is read once. '.repeat(warmTokens)
  const ids = engine.promptIds(text.slice(0, 6 * warmTokens), { raw: true }).slice(0, warmTokens)
  for (const prefill of ['exact', ...(engine.prediction ? (['predicted'] as const) : [])] as const)
    await engine.submit({ ...oneToken, prompt: ids, prefill, tenant: `warm-up ${prefill}`, signal }).result()
}
