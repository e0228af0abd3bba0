/** Reports how an answer was computed: OpenAI's usage, our report, the headers. */
import type { DoneEvent } from '../src/index.ts'

/** Token counts of all answers of a request. */
export interface Counts {
  readonly prompt: number
  readonly cached: number
  readonly completion: number
}

/** Adds up the counts; each `choices` answers in a row share a prompt, which is counted once. */
export function countsOf(done: readonly DoneEvent[], choices: number): Counts {
  let [prompt, cached, completion] = [0, 0, 0]
  done.forEach((one, index) => {
    completion += one.ids.length
    if (index % choices !== 0) return
    prompt += one.timings.prompt_tokens
    cached += one.cached_tokens
  })
  return { prompt, cached, completion }
}

/** Returns the `usage` of chat and text completions. */
export function usageOf(done: readonly DoneEvent[], choices: number) {
  const { prompt, cached, completion } = countsOf(done, choices)
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: cached },
    foretoken: reportOf(done[0]!),
  }
}

/** Returns the report of one answer, without `load_ms`, which belongs to the server. */
export function reportOf(done: DoneEvent) {
  const { prefill, prefill_share, placed_tokens, exact_from, verified, timings, build } = done
  const { load_ms, prompt_tokens, ...times } = timings
  return {
    prefill,
    prefill_share,
    ...(placed_tokens !== undefined && { placed_tokens }),
    ...(exact_from !== undefined && { exact_from }),
    ...(verified !== undefined && { verified }),
    timings: times,
    build,
  }
}

/**
 * Returns the headers of an answer; the parts of `server-timing` add up to TTFT, in milliseconds.
 */
export function timingHeaders({ prefill, timings }: Pick<DoneEvent, 'prefill' | 'timings'>): Record<string, string> {
  const parts = {
    template: timings.template_ms,
    tokenize: timings.tokenize_ms,
    queue: timings.queue_ms,
    cache: timings.cache_ms,
    prefill: timings.prefill_ms,
    sample: timings.sample_ms,
    ttft: timings.ttft_ms,
  }
  return {
    'x-foretoken-prefill': prefill,
    'server-timing': Object.entries(parts)
      .map(([name, ms]) => `${name};dur=${ms.toFixed(2)}`)
      .join(', '),
  }
}
