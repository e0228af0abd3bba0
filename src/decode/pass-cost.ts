/**
 * How long a pass takes on this machine, learned from the passes that were run.
 *
 * A few rows cost nearly as much as one, many rows cost in proportion: so milliseconds per row are kept for each power of
 * two of rows. Old passes fade, since machines slow down and speed up.
 */
const fade = 0.8

export class PassCost {
  /** Milliseconds per row of passes of 2^i to 2^(i + 1) - 1 rows; undefined where none has run. */
  readonly #perRow: (number | undefined)[] = []

  /** A pass took no time: the clock stands still while this host computes (an edge isolate), and nothing can be learned. */
  blind = false

  learn(rows: number, ms: number): void {
    if (ms <= 0) {
      this.blind = true
      return
    }
    const bucket = bucketOf(rows)
    const before = this.#perRow[bucket]
    this.#perRow[bucket] = before === undefined ? ms / rows : fade * before + (1 - fade) * (ms / rows)
  }

  /** Milliseconds that a pass of `rows` should take; undefined before any has run. */
  estimate(rows: number): number | undefined {
    const perRow = this.#nearest(bucketOf(rows))
    return perRow === undefined ? undefined : perRow * rows
  }

  /** The most rows, up to `most`, that should take no longer than `ms` (at least 1); `most` before any pass has run. */
  rowsWithin(ms: number, most: number): number {
    for (let bucket = bucketOf(most); bucket >= 0; bucket--) {
      const perRow = this.#nearest(bucket)
      if (perRow === undefined) return most
      const rows = Math.min(most, 2 ** (bucket + 1) - 1, Math.floor(ms / perRow))
      if (rows >= 2 ** bucket) return rows
    }
    return 1
  }

  #nearest(bucket: number): number | undefined {
    for (let step = 0; step < 16; step++) {
      // Fewer rows cost more each: the estimate errs on the slow side if the smaller neighbour is asked first.
      const known = this.#perRow[bucket - step] ?? this.#perRow[bucket + step]
      if (known !== undefined) return known
    }
    return undefined
  }
}

function bucketOf(rows: number): number {
  return 31 - Math.clz32(rows)
}
