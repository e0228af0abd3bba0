/**
 * How long a pass takes on this machine, learned from the passes that were run.
 *
 * A few rows cost nearly as much as one, many rows cost in proportion: so one point, rows and milliseconds, is kept for each power
 * of two of rows, and between points the cost is on a line. Old passes fade, since machines slow down and speed up.
 */
const fade = 0.8

interface Point {
  readonly rows: number
  readonly ms: number
}

export class PassCost {
  /** Of passes of 2^i to 2^(i + 1) - 1 rows; a hole where none has run. */
  readonly #points: (Point | undefined)[] = []

  /** A pass took no time: the clock stands still while this host computes (an edge isolate), and nothing can be learned. */
  blind = false

  /** A pass has been measured. */
  get known(): boolean {
    return this.#points.length > 0
  }

  learn(rows: number, ms: number): void {
    if (ms <= 0) {
      this.blind = true
      return
    }
    const bucket = bucketOf(rows)
    const before = this.#points[bucket] ?? { rows, ms }
    const faded = (old: number, now: number) => fade * old + (1 - fade) * now
    this.#points[bucket] = { rows: faded(before.rows, rows), ms: faded(before.ms, ms) }
  }

  /** Milliseconds that a pass of `rows` should take; undefined before any has run. Beyond what was seen, in proportion. */
  estimate(rows: number): number | undefined {
    let below: Point | undefined
    for (const point of this.#points) {
      if (!point) continue
      if (point.rows >= rows) return between(below, point, rows)
      below = point
    }
    return below && (below.ms / below.rows) * rows
  }

  /** The most rows, up to `most`, that should take no longer than `ms` (at least 1); `most` before any pass has run. */
  rowsWithin(ms: number, most: number): number {
    for (let rows = most; rows > 1; rows--) {
      const estimate = this.estimate(rows)
      if (estimate === undefined || estimate <= ms) return rows
    }
    return 1
  }
}

/** Of passes smaller than any seen: in proportion, too. */
function between(below: Point | undefined, above: Point, rows: number): number {
  if (!below) return (above.ms / above.rows) * rows
  return below.ms + ((rows - below.rows) / (above.rows - below.rows)) * (above.ms - below.ms)
}

function bucketOf(rows: number): number {
  return 31 - Math.clz32(rows)
}
