/** Opens an engine that refines for a benchmark, and shows how many of its answers are done. */
import type { Engine } from '../../node/index.ts'
import type { Flags } from '../flags.ts'
import { open } from '../session.ts'
import { StatusLine } from '../terminal.ts'

/** What a benchmark works with. */
export interface Refining {
  readonly model: string
  readonly engine: Engine
  /** Ends the status line, before results are printed. */
  readonly clear: () => void
  readonly onProgress: (done: number, total: number) => void
}

/** Runs `work` with an engine of `context` tokens, which is closed afterwards. `name` is the benchmark's. */
export async function withRefining(
  flags: Flags,
  signal: AbortSignal,
  { name, context }: { readonly name: string; readonly context: number },
  work: (refining: Refining) => Promise<void>,
): Promise<void> {
  const { model, engine } = await open({ prefill: 'refined', ...flags }, signal, { context, prefixBytes: 0 })
  const line = new StatusLine()
  const onProgress = (done: number, total: number) => {
    signal.throwIfAborted()
    line.show(`${name}  ${done} of ${total} answers`)
  }
  try {
    await work({ model, engine, clear: () => line.clear(), onProgress })
  } finally {
    line.clear()
    await engine.close()
  }
}
