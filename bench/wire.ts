/**
 * Measures K and V on the wire: bytes per token, how far answers are from exact ones, and how fast
 * a codec is on one thread.
 */
import { at, defined } from '../src/base/at.ts'
import { agreement } from '../src/evaluate/agreement.ts'
import type { Engine, WireCodec } from '../src/index.ts'
import type { Case } from './quality/drafts.ts'
import { suites } from './quality/suites.ts'
import { round } from './stats.ts'

export interface WireRow {
  readonly suite: string
  readonly length: number
  readonly codec: WireCodec
  /** Factor on the default steps, for `residual`. */
  readonly coarseness?: number
  readonly cases: number
  readonly bytes_per_token: number
  /**
   * Mean KL divergence of the exact next-token distributions from those after what arrived, in
   * nats, and its standard error over the cases.
   */
  readonly kl: number
  readonly kl_error: number
  /** Share of positions with the same likeliest token. */
  readonly top1: number
  /** Wire bytes divided by the time of all cases. */
  readonly encode_mb_s: number
  readonly decode_mb_s: number
  /** The same in bytes that f16 would need. */
  readonly decode_f16_mb_s: number
}

export interface WireOptions {
  readonly suites: readonly string[]
  readonly lengths: readonly number[]
  readonly cases: number
  readonly seed: number
  readonly folder: string
  readonly onRows?: (rows: readonly WireRow[]) => void
  readonly onProgress?: (text: string) => void
}

interface Way {
  readonly codec: WireCodec
  readonly coarseness?: number
}

/** Every codec, and `residual` from fine to coarse; the last sends hardly anything. */
export const ways: readonly Way[] = [
  { codec: 'f32' },
  { codec: 'f16' },
  { codec: 'int8' },
  { codec: 'int4' },
  ...[0.25, 0.5, 0.71, 1, 1.41, 2, 100].map((coarseness): Way => ({ codec: 'residual', coarseness })),
]

interface Totals {
  bytes: number
  encode_ms: number
  decode_ms: number
  top1: number
  readonly kl: number[]
}

export async function benchWire(engine: Engine, options: WireOptions): Promise<WireRow[]> {
  const rows: WireRow[] = []
  for (const suite of options.suites)
    for (const length of options.lengths) {
      const judged = await judgeSuite(engine, suite, length, options)
      options.onRows?.(judged)
      rows.push(...judged)
    }
  return rows
}

async function judgeSuite(engine: Engine, suite: string, length: number, options: WireOptions): Promise<WireRow[]> {
  const drafts = await defined(suites[suite]).drafts(engine, { ...options, length })
  const cases: Case[] = []
  for (const draft of drafts) cases.push(await draft.make())
  const totals = ways.map((): Totals => ({ bytes: 0, encode_ms: 0, decode_ms: 0, top1: 0, kl: [] }))
  for (const [index, one] of cases.entries()) {
    options.onProgress?.(`${suite} ${length}  ${index + 1} of ${cases.length}`)
    const { exact, sent } = await engine.workbench.logitsSent(one, ways)
    for (const [way, { logits, bytes, encode_ms, decode_ms }] of sent.entries()) {
      const row = at(totals, way)
      const { kl, top1 } = agreement(at(exact, 0), at(logits, 0), engine.archive.config.vocab)
      row.kl.push(kl)
      row.top1 += top1
      row.bytes += bytes
      row.encode_ms += encode_ms
      row.decode_ms += decode_ms
    }
  }
  const tokens = cases.reduce((sum, { prompt }) => sum + prompt.length - 1, 0)
  const { layers, kvHeads, headDim } = engine.archive.config
  const halves = tokens * layers * kvHeads * headDim * 4
  return ways.map((way, index) => rowOf({ suite, length, ...way }, at(totals, index), tokens, halves))
}

function rowOf(head: Pick<WireRow, 'suite' | 'length'> & Way, totals: Totals, tokens: number, halves: number): WireRow {
  const { kl, bytes, encode_ms, decode_ms, top1 } = totals
  const mean = kl.reduce((sum, value) => sum + value, 0) / kl.length
  const deviation = Math.sqrt(kl.reduce((sum, value) => sum + (value - mean) ** 2, 0) / kl.length)
  return {
    ...head,
    cases: kl.length,
    bytes_per_token: Math.round(bytes / tokens),
    kl: round(mean, 5),
    kl_error: round(deviation / Math.sqrt(kl.length), 2),
    top1: round(top1 / kl.length),
    encode_mb_s: Math.round(bytes / encode_ms / 1e3),
    decode_mb_s: Math.round(bytes / decode_ms / 1e3),
    decode_f16_mb_s: Math.round(halves / decode_ms / 1e3),
  }
}
