/** Where the segments of a pass lie on its token axis. */
import type { Span } from '../model/llama.ts'
import type { Pass } from '../types.ts'

/** Rows of the segments of a span that begins the axis. */
export function rowsOf(pass: Pass, { to }: Span): number {
  const last = pass.segments[to - 1]
  return last ? last.start + last.length : 0
}
