/**
 * Simulates clients of an OpenAI-compatible server and measures what they see: time to first token,
 * time between tokens, failures. In a closed loop, each of a number of clients asks again when it
 * is answered. In an open loop, requests come at a rate, by a Poisson process, whether or not
 * earlier ones are done; their times count from when they should have been sent, so that a busy
 * client cannot hide its own delay.
 */
import { defined } from '../src/base/at.ts'
import { createRandom } from '../src/decode/random.ts'
import { eventsOf } from './sse.ts'
import { type Percentiles, percentiles, round, sum } from './stats.ts'

export interface LoadOptions {
  /** The address with its `/v1`. */
  readonly url: string
  readonly model: string
  readonly key?: string | undefined
  readonly requests: number
  /** Number of clients of a closed loop. */
  readonly concurrency: number
  /** Requests a second of an open loop, instead of a closed one. */
  readonly rate?: number | undefined
  /** Prompt lengths in words, used in turn. */
  readonly words: readonly number[]
  readonly maxTokens: number
  /**
   * More fields for the body. Fields that only foretoken knows belong here, so other servers do not
   * get them.
   */
  readonly fields?: Readonly<Record<string, unknown>>
  readonly seed: number
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: (done: number, total: number) => void
}

export interface LoadResult {
  readonly requests: number
  readonly failed: number
  /** Counts by status, or by what broke the connection. */
  readonly failures: Readonly<Record<string, number>>
  readonly seconds: number
  readonly requests_per_s: number
  readonly output_tokens: number
  readonly tokens_per_s: number
  readonly ttft_ms: Percentiles
  readonly itl_ms: Percentiles
  readonly e2e_ms: Percentiles
}

interface Answered {
  readonly ttft: number
  readonly gaps: readonly number[]
  readonly e2e: number
  readonly tokens: number
}

/** Runs the load. Rejects if the signal fires; all other failures are counted. */
export async function load(options: LoadOptions): Promise<LoadResult> {
  const { requests, concurrency, rate, seed, onProgress, signal } = options
  const random = createRandom(seed)
  const bodies = Array.from({ length: requests }, (_, index) => bodyOf(options, index, random))
  const answered: Answered[] = []
  const failures: Record<string, number> = {}
  let done = 0
  const one = async (index: number, due: number) => {
    try {
      answered.push(await ask(options, defined(bodies[index]), due))
    } catch (error) {
      signal?.throwIfAborted()
      const reason = error instanceof Failure ? error.message : 'connection'
      failures[reason] = (failures[reason] ?? 0) + 1
    }
    onProgress?.(++done, requests)
  }
  const begun = performance.now()
  if (rate === undefined) await closedLoop(requests, concurrency, one)
  else await openLoop(requests, rate, random, one, signal)
  const seconds = (performance.now() - begun) / 1000
  const tokens = sum(answered.map((answer) => answer.tokens))
  return {
    requests,
    failed: requests - answered.length,
    failures,
    seconds: round(seconds, 4),
    requests_per_s: round(answered.length / seconds, 4),
    output_tokens: tokens,
    tokens_per_s: round(tokens / seconds, 4),
    ttft_ms: percentiles(answered.map(({ ttft }) => ttft)),
    itl_ms: percentiles(answered.flatMap(({ gaps }) => gaps)),
    e2e_ms: percentiles(answered.map(({ e2e }) => e2e)),
  }
}

type One = (index: number, due: number) => Promise<void>

async function closedLoop(requests: number, clients: number, one: One): Promise<void> {
  let next = 0
  const client = async () => {
    while (next < requests) await one(next++, performance.now())
  }
  await Promise.all(Array.from({ length: Math.min(clients, requests) }, client))
}

async function openLoop(requests: number, rate: number, random: () => number, one: One, signal?: AbortSignal) {
  const begun = performance.now()
  const running: Promise<void>[] = []
  let due = begun
  for (let index = 0; index < requests; index++) {
    for (let left = due - performance.now(); left > 0; left = due - performance.now())
      await new Promise((resolve) => setTimeout(resolve, Math.ceil(left)))
    signal?.throwIfAborted()
    running.push(one(index, due))
    due += (-Math.log(1 - random()) * 1000) / rate
  }
  await Promise.all(running)
}

class Failure extends Error {}

async function ask({ url, key, signal }: LoadOptions, body: string, due: number): Promise<Answered> {
  const response = await fetch(`${url.replace(/\/$/, '')}/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }) },
    body,
    signal: signal ?? null,
  })
  if (!response.ok) {
    await response.body?.cancel()
    throw new Failure(String(response.status))
  }
  if (!response.body) throw new Failure('no body')
  const times: number[] = []
  let tokens: number | undefined
  let ended = false
  for await (const { data, at } of eventsOf(response.body)) {
    ended = data === '[DONE]'
    if (ended) break
    const chunk = JSON.parse(data)
    if (chunk.error) throw new Failure('error in the stream')
    tokens = chunk.usage?.completion_tokens ?? tokens
    if (chunk.choices?.[0]?.delta?.content) times.push(at - due)
  }
  if (!ended) throw new Failure('broken off')
  const e2e = performance.now() - due
  const gaps = times.slice(1).map((time, index) => time - defined(times[index]))
  return { ttft: times[0] ?? e2e, gaps, e2e, tokens: tokens ?? times.length }
}

const words =
  'time year people way day man thing woman life child world school state family student group country'.split(' ')

/**
 * Returns the body of a request. Prompts begin differently, so that no prefix cache has read them.
 */
function bodyOf(
  { model, words: lengths, maxTokens, fields }: LoadOptions,
  index: number,
  random: () => number,
): string {
  const length = defined(lengths[index % lengths.length])
  const text = Array.from({ length }, () => defined(words[Math.floor(random() * words.length)]))
  const content = `${Math.floor(random() * 1e6)} ${text.join(' ')}`
  const stream = { stream: true, stream_options: { include_usage: true } }
  return JSON.stringify({
    model,
    messages: [{ role: 'user', content }],
    max_tokens: maxTokens,
    temperature: 0,
    ...stream,
    ...fields,
  })
}
