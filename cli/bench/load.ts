/**
 * `foretoken bench load --url URL`: measures an OpenAI-compatible server from its clients' side.
 */
import { type LoadResult, load } from '../../bench/load.ts'
import { machine } from '../../bench/machine.ts'
import { defaultModel } from '../../node/index.ts'
import type { Flags } from '../flags.ts'
import { startSeed, UsageError } from '../parse.ts'
import { print, StatusLine } from '../terminal.ts'

export async function benchLoadCommand(flags: Flags, signal: AbortSignal): Promise<void> {
  const { url, requests = 100, concurrency = 1, rate, lengths = [64], prefill } = flags
  const seed = startSeed(flags)
  if (url === undefined) throw new UsageError('bench load needs a server: --url http://127.0.0.1:8787/v1')
  const line = new StatusLine()
  const settings = {
    url,
    model: flags.model ?? defaultModel,
    requests,
    concurrency,
    rate,
    words: lengths,
    maxTokens: Math.max(1, flags['max-tokens'] ?? 64),
    seed,
  }
  try {
    const result = await load({
      ...settings,
      key: process.env.OPENAI_API_KEY ?? process.env.FORETOKEN_API_KEY,
      signal,
      ...(prefill && { fields: { foretoken: { prefill } } }),
      onProgress: (done, total) => line.show(`${done} of ${total} answered`),
    })
    line.clear()
    if (flags.json) print(JSON.stringify({ bench: 'load', machine: machine(), ...settings, result }))
    else for (const text of lines(result)) print(text)
  } finally {
    line.clear()
  }
}

function lines(result: LoadResult): string[] {
  const { requests, failed, failures, seconds, requests_per_s, tokens_per_s } = result
  const why =
    failed > 0
      ? ` (${Object.entries(failures)
          .map(([reason, count]) => `${reason}: ${count}`)
          .join(', ')})`
      : ''
  return [
    `${requests - failed} of ${requests} answered, ${failed} failed${why} · ${seconds} s · ${requests_per_s} requests/s · ${tokens_per_s} tokens/s`,
    ...(['ttft_ms', 'itl_ms', 'e2e_ms'] as const).map((name) => {
      const { mean, p50, p95, p99 } = result[name]
      return `${name.replace('_ms', ' ms').padEnd(8)} mean ${mean}  p50 ${p50}  p95 ${p95}  p99 ${p99}`
    }),
  ]
}
