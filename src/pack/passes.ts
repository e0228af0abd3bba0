/** Which tokens of which prompts go into which pass: the flat form of packing, without bins, rows or padding. */

/** Tokens `from`..`to` - 1 of prompt `index`. */
export interface Piece {
  readonly index: number
  readonly from: number
  readonly to: number
}

/**
 * Prompts of `lengths` laid end to end and cut every `budget` tokens: as few passes as there can be, every one full
 * but the last. Prompts keep their order; a prompt that meets the end of a pass goes on in the next.
 */
export function passesOf(lengths: readonly number[], budget: number): Piece[][] {
  const passes: Piece[][] = []
  let room = 0
  lengths.forEach((length, index) => {
    for (let from = 0; from < length; ) {
      if (room === 0) {
        passes.push([])
        room = budget
      }
      const to = Math.min(length, from + room)
      passes.at(-1)!.push({ index, from, to })
      room -= to - from
      from = to
    }
  })
  return passes
}
