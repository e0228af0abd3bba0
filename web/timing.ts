/** What exact prefill takes in this tab, and getting compiled before anybody waits. */
import { type Engine, type Message, pageTokens } from '../src/index.ts'

const oneToken = { maxTokens: 1, ignoreEos: true } as const

type Timed = Pick<Engine, 'promptIds' | 'submit'>

/** Numbers tenants: a page without TLS has no `crypto.randomUUID`. */
let timings = 0

/**
 * Milliseconds to an exact first token, where as much of the prompt lies in the prefix cache as the answer that it is held against found there
 * (`cachedTokens`): else the later questions of a chat would be compared with work that nobody would do.
 */
export async function exactTtft(
  engine: Timed,
  messages: readonly Message[],
  cachedTokens: number,
  signal: AbortSignal,
): Promise<number> {
  // A tenant of its own has an empty cache, into which the beginning is read first.
  const tenant = `timing ${timings++}`
  const beginning = engine.promptIds(messages).slice(0, cachedTokens - (cachedTokens % pageTokens))
  if (beginning.length > 0) await engine.submit({ ...oneToken, prompt: beginning, tenant, signal }).result()
  const begun = performance.now()
  for await (const { type } of engine.submit({ ...oneToken, prompt: messages, tenant, signal }))
    if (type === 'token') break
  return performance.now() - begun
}

const warmTokens = 96

/**
 * Reads a short prompt in each mode, so that the browser has compiled the kernels for speed when the first question comes: V8 first
 * compiles them in haste. Whoever has a question stops it by `signal`, after a pass at most.
 */
export async function warmUp(engine: Timed & Pick<Engine, 'prediction'>, signal: AbortSignal): Promise<void> {
  const text = 'A short text that says nothing, and is read once. '.repeat(warmTokens)
  const ids = engine.promptIds(text.slice(0, 6 * warmTokens), { raw: true }).slice(0, warmTokens)
  for (const prefill of ['exact', ...(engine.prediction ? (['predicted'] as const) : [])] as const)
    await engine.submit({ ...oneToken, prompt: ids, prefill, tenant: `warm-up ${prefill}`, signal }).result()
}
