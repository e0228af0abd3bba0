/** Records of requests for the log and the metrics, without any text of prompts or answers. */

export interface RequestRecord {
  readonly id: string
  readonly begun: number
  method: string
  /** The route's pattern, since an address may contain anything. */
  route: string
  status: number
  /** Whether the answer streams; its record is then finished with its last byte. */
  streaming: boolean
  caller?: string
  model?: string
  code?: string
  /** Ignored fields, as the header names them. */
  ignored?: string
  prefill?: string
  prompt_tokens?: number
  cached_tokens?: number
  completion_tokens?: number
  ttft_ms?: number
  /** Time that the request waited for its model to be loaded. */
  load_ms?: number
  /** Time that the request waited for admission. */
  wait_ms?: number
  /**
   * Route of the first answer, if companions are configured, and the reason for falling back to
   * this engine.
   */
  way?: string
  companion?: string
  predicted_ms?: number
  fell_back?: string
  aborted?: 'gone' | 'stalled' | 'timeout'
  /** Cause of a server failure, for its log only. */
  cause?: string
}

/** A line of the log, as an object. */
export type LogLine = Readonly<Record<string, string | number | boolean>>

/** Maximum length of a text; longer ones are cut, since a failure may quote foreign text. */
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
 * Makes a text harmless to a terminal: control characters, characters that change the writing
 * direction, and line ends of all kinds become escapes. JSON escapes only the first 32.
 */
export function printable(text: string): string {
  const cut = text.length > longest ? `${text.slice(0, longest)}…` : text
  return cut.replace(
    /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu,
    (one) => `\\u{${(one.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}}`,
  )
}

/** Rounds milliseconds to tenths, as logs show them. */
export function tenths(ms: number): number {
  return Math.round(ms * 10) / 10
}
