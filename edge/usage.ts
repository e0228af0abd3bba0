/** How an answer came about: OpenAI's usage, our report, the headers. */
import type { DoneEvent } from '../src/index.ts'

/** Of all answers of a request; `choices` of them share each prompt, which is counted once. */
export interface Counts {
  readonly prompt: number
  readonly cached: number
  readonly completion: number
}

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

/** `usage` of chat and text completions. */
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

/** Of one answer; `load_ms` is of the server and not of the request. */
export function reportOf({ prefill, prefill_share, exact_from, timings, build }: DoneEvent) {
  const { load_ms, prompt_tokens, ...times } = timings
  return { prefill, prefill_share, ...(exact_from !== undefined && { exact_from }), timings: times, build }
}

/** `server-timing` adds up to TTFT, in milliseconds. */
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
