/** `foretoken bench prefill|decode`: measures the speed of this machine. */
import { benchDecode, type DecodeRow } from '../../bench/decode.ts'
import { machine } from '../../bench/machine.ts'
import { benchPrefill, type PrefillRow } from '../../bench/prefill.ts'
import type { Flags } from '../flags.ts'
import { open } from '../session.ts'
import { columns, print, StatusLine } from '../terminal.ts'

const defaults = { prefill: [32, 128, 512, 1024], decode: [128, 1024] }

/** Context after the longest prompt, in tokens, for `bench decode`. */
const room = 64

export async function benchSpeed(kind: 'prefill' | 'decode', flags: Flags, signal: AbortSignal): Promise<void> {
  const lengths = flags.lengths ?? defaults[kind]
  const { model, engine } = await open(flags, signal, { context: Math.max(...lengths) + room })
  const line = new StatusLine()
  const options = {
    lengths,
    ...(flags.runs !== undefined && { runs: flags.runs }),
    onProgress: (done: number, total: number) => {
      signal.throwIfAborted()
      line.show(`${kind}  ${done} of ${total} samples`)
    },
  }
  try {
    const { build, threads } = engine.backend
    const results = kind === 'prefill' ? await benchPrefill(engine, options) : await benchDecode(engine, options)
    line.clear()
    if (flags.json) print(JSON.stringify({ bench: kind, model, build, threads, machine: machine(), results }))
    else print([`${model} · ${build} · ${machine().cpu}`, ...table(results)].join('\n'))
  } finally {
    line.clear()
    await engine.close()
  }
}

function table(results: readonly (PrefillRow | DecodeRow)[]): string[] {
  const head =
    'tokens' in results[0]!
      ? ['tokens', 'ms', 'tokens/s', 'gops', 'peak gops', 'of peak']
      : ['context', 'ms/token', 'tokens/s']
  const rows = results.map((row) =>
    'tokens' in row
      ? [row.tokens, row.ms, row.tokens_per_s, row.gops, row.peak_gops, row.fraction_of_peak]
      : [row.context, row.ms_per_token, row.tokens_per_s],
  )
  return columns([head, ...rows], 10)
}
