import { defined } from '../base/at.ts'

/** A heap of numbers whose least comes first. */
export class MinHeap {
  readonly #keys: number[] = []

  push(key: number): void {
    const keys = this.#keys
    let at = keys.push(key) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = defined(keys[parent])
      if (above <= key) break
      keys[at] = above
      at = parent
    }
    keys[at] = key
  }

  pop(): number | undefined {
    const keys = this.#keys
    const least = keys[0]
    const last = keys.pop()
    if (keys.length === 0 || last === undefined) return least
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= keys.length) break
      if (child + 1 < keys.length && defined(keys[child + 1]) < defined(keys[child])) child++
      const below = defined(keys[child])
      if (below >= last) break
      keys[at] = below
      at = child
    }
    keys[at] = last
    return least
  }
}
