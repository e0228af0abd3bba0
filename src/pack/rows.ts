/** Locates the segments of a pass on its token axis, and tells which are new. */

import type { Pass, Segment } from '../base/pass.ts'
import type { Span } from '../model/forward.ts'

/** Returns the number of rows in the segments of a span that begins at the start of the axis. */
export function rowsOf(pass: Pass, { to }: Span): number {
  const last = pass.segments[to - 1]
  return last ? last.start + last.length : 0
}

/** Returns all segments except those that are recomputed. */
export function freshOf({ segments, refined = 0 }: Pass): readonly Segment[] {
  return segments.slice(0, segments.length - refined)
}

/**
 * Returns the new segments of inexact caches in the order of their positions. On the axis a
 * prompt's predicted middle lies before its first tokens.
 */
export function inexactInOrder(pass: Pass): Segment[] {
  return freshOf(pass)
    .filter(({ states }) => states)
    .sort((a, b) => a.past - b.past)
}
