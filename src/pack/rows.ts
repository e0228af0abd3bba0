/** Where the segments of a pass lie on its token axis, and which are new. */

import type { Pass, Segment } from '../base/pass.ts'
import type { Span } from '../model/forward.ts'

/** Rows of the segments of a span that begins the axis. */
export function rowsOf(pass: Pass, { to }: Span): number {
  const last = pass.segments[to - 1]
  return last ? last.start + last.length : 0
}

/** All segments but those that are run again. */
export function freshOf({ segments, refined = 0 }: Pass): readonly Segment[] {
  return segments.slice(0, segments.length - refined)
}

/** New segments of inexact caches in the order of their positions: a prompt's predicted middle lies before its first tokens on the axis. */
export function inexactInOrder(pass: Pass): Segment[] {
  return freshOf(pass)
    .filter(({ states }) => states)
    .sort((a, b) => a.past - b.past)
}
