/** One request, for the log and the metrics: what it was, never what it said. */

export interface RequestRecord {
  readonly id: string
  readonly begun: number
  method: string
  /** The route's pattern: an address may hold anything. */
  route: string
  status: number
  /** Written when its last byte is; by the answer itself where it streams. */
  streaming: boolean
  caller?: string
  model?: string
  code?: string
  /** Fields that were read for nothing, as the header names them. */
  ignored?: string
  prefill?: string
  prompt_tokens?: number
  cached_tokens?: number
  completion_tokens?: number
  ttft_ms?: number
  /** Until there was room for it. */
  wait_ms?: number
  /** Of a request that a companion might have read: the way that its first answer took, and the first of its reasons to come back. */
  way?: string
  companion?: string
  predicted_ms?: number
  fell_back?: string
  aborted?: 'gone' | 'stalled' | 'timeout'
  /** Of a failure of this server: for its log only. */
  cause?: string
}

/** One line of a log, as an object. */
export type LogLine = Readonly<Record<string, string | number | boolean>>

/** Longer texts are cut: a failure's reason may quote what came from elsewhere. */
const longest = 300

export function logLine(record: RequestRecord): LogLine {
  const { begun, streaming, ...rest } = record
  const known = Object.entries(rest).filter(([, value]) => value !== undefined)
  const shown = known.map(([name, value]) => [name, typeof value === 'string' ? printable(value) : value])
  return {
    time: new Date().toISOString(),
    ...(Object.fromEntries(shown) as LogLine),
    stream: streaming,
    ms: tenths(performance.now() - begun),
  }
}

/**
 * A text that does nothing to the terminal that a log is read on: control characters, those that turn the direction of writing, and
 * line ends of all kinds are shown by their numbers. JSON escapes only the first 32.
 */
export function printable(text: string): string {
  const cut = text.length > longest ? `${text.slice(0, longest)}…` : text
  return cut.replace(
    /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu,
    (one) => `\\u{${one.codePointAt(0)!.toString(16).padStart(4, '0')}}`,
  )
}

/** Milliseconds as logs have them. */
export function tenths(ms: number): number {
  return Math.round(ms * 10) / 10
}
