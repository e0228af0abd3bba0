/**
 * Learns how long a pass takes on this machine from the passes that were run.
 *
 * A few rows cost nearly as much as one, and many rows cost in proportion to their number. So one
 * point (rows, milliseconds) is kept for each power of two of rows, and the cost is interpolated
 * between points. Old passes fade out, since machines slow down and speed up.
 */
const fade = 0.8

interface Point {
  readonly rows: number
  readonly ms: number
}

/** Estimates the milliseconds of a pass from its rows. */
export class PassCost {
  /** Entry i averages passes of 2^i to 2^(i + 1) - 1 rows; entries without a pass are empty. */
  readonly #points: (Point | undefined)[] = []

  /**
   * Whether a pass took no time: on this host the clock stands still during computation (as in an
   * edge isolate), so that nothing can be learned.
   */
  blind = false

  /** Whether at least one pass has been measured. */
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

  /**
   * Returns the expected milliseconds of a pass of `rows`, or undefined before the first pass.
   * Beyond the largest pass so far, the estimate is proportional to `rows`.
   */
  estimate(rows: number): number | undefined {
    let below: Point | undefined
    for (const point of this.#points) {
      if (!point) continue
      if (point.rows >= rows) return between(below, point, rows)
      below = point
    }
    return below && (below.ms / below.rows) * rows
  }

  /**
   * Returns the most rows, at least 1 and at most `most`, that are expected to take no longer than
   * `ms` milliseconds. Returns `most` before the first pass.
   */
  rowsWithin(ms: number, most: number): number {
    for (let rows = most; rows > 1; rows--) {
      const estimate = this.estimate(rows)
      if (estimate === undefined || estimate <= ms) return rows
    }
    return 1
  }
}

/** Interpolates between two points; below the smallest point the cost is proportional to `rows`. */
function between(below: Point | undefined, above: Point, rows: number): number {
  if (!below) return (above.ms / above.rows) * rows
  return below.ms + ((rows - below.rows) / (above.rows - below.rows)) * (above.ms - below.ms)
}

function bucketOf(rows: number): number {
  return 31 - Math.clz32(rows)
}
