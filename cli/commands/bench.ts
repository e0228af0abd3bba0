/** `foretoken bench`: dispatches to the benchmarks. */
import { assentTo } from '../assent.ts'
import { benchChunksCommand } from '../bench/chunks.ts'
import { benchLoadCommand } from '../bench/load.ts'
import { benchModesCommand } from '../bench/modes.ts'
import { benchPrepackCommand } from '../bench/prepack.ts'
import { benchReplayCommand } from '../bench/replay.ts'
import { benchReportCommand } from '../bench/report.ts'
import { benchSpeed } from '../bench/speed.ts'
import { benchTtftCommand } from '../bench/ttft.ts'
import { benchVerifiedCommand } from '../bench/verified.ts'
import { benchWireCommand } from '../bench/wire.ts'
import { type Invocation, UsageError } from '../parse.ts'

export async function bench({ flags, operands }: Invocation, signal: AbortSignal): Promise<void> {
  const [kind, trace, ...more] = operands
  // The other two ask a server, or read records.
  if (kind !== 'load' && kind !== 'report' && flags.model !== undefined) await assentTo(flags.model, flags, signal)
  if (kind === 'replay' && trace !== undefined && more.length === 0) return benchReplayCommand(trace, flags, signal)
  if (kind === 'report' && more.length === 0) return benchReportCommand(trace ?? 'bench/record', flags)
  if (trace !== undefined || kind === 'replay' || kind === undefined)
    throw new UsageError(
      'bench takes one of ttft, prefill, decode, modes, verified, chunks, prepack, wire, load, replay TRACE, report [DIR]',
    )
  if (kind === 'prefill' || kind === 'decode') return benchSpeed(kind, flags, signal)
  if (kind === 'ttft') return benchTtftCommand(flags, signal)
  if (kind === 'modes') return benchModesCommand(flags, signal)
  if (kind === 'verified') return benchVerifiedCommand(flags, signal)
  if (kind === 'chunks') return benchChunksCommand(flags, signal)
  if (kind === 'wire') return benchWireCommand(flags, signal)
  if (kind === 'load') return benchLoadCommand(flags, signal)
  if (kind === 'prepack') return benchPrepackCommand(flags, signal)
  throw new UsageError(
    `no benchmark ${kind}; there are ttft, prefill, decode, modes, verified, chunks, prepack, wire, load, replay TRACE, report [DIR]`,
  )
}
