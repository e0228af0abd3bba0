/** Distributes prompts over passes: flat packing, without bins, rows or padding. */

/** Tokens `from` to `to` - 1 of prompt `index`. */
export interface PromptSlice {
  readonly index: number
  readonly from: number
  readonly to: number
}

/**
 * Lays prompts of `lengths` end to end and cuts them every `budget` tokens, which gives the fewest
 * passes possible: all are full but the last. Prompts keep their order, and a prompt that reaches
 * the end of a pass continues in the next.
 */
export function passesOf(lengths: readonly number[], budget: number): PromptSlice[][] {
  const passes: PromptSlice[][] = []
  let last: PromptSlice[] = []
  let room = 0
  lengths.forEach((length, index) => {
    for (let from = 0; from < length; ) {
      if (room === 0) {
        last = []
        passes.push(last)
        room = budget
      }
      const to = Math.min(length, from + room)
      last.push({ index, from, to })
      room -= to - from
      from = to
    }
  })
  return passes
}
