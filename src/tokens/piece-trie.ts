// biome-ignore-all lint/style/noNonNullAssertion: loops over typed arrays, whose indices are in bounds by construction
/**
 * Holds the pieces of a vocabulary as a trie over UTF-16 units in four arrays, with at most a node for each
 * unit of their texts. The children of a node lie side by side, in order of their units, behind those of
 * the node before it.
 */

export class PieceTrie {
  /** The first child of each node; the next entry is where its children end. */
  readonly #children: Uint32Array
  /** The unit that leads to each node. */
  readonly #units: Uint16Array
  /** The piece that ends at each node, or -1. */
  readonly #ids: Int32Array
  /** The child of the root for each unit; 0 for none. */
  readonly #firsts = new Uint32Array(1 << 16)

  /** `ids` has the id of each text. */
  constructor(ids: ReadonlyMap<string, number>) {
    const texts = [...ids.keys()].filter((text) => text !== '').sort()
    const most = texts.reduce((sum, { length }) => sum + length, 1)
    const children = new Uint32Array(most + 1)
    const units = new Uint16Array(most)
    const found = new Int32Array(most).fill(-1)
    // The texts of each node, which all begin alike.
    const lows = new Uint32Array(most)
    const highs = new Uint32Array(most)
    highs[0] = texts.length
    let count = 1
    for (let node = 0, levelEnd = 1, depth = 0; node < count; node++) {
      if (node === levelEnd) {
        levelEnd = count
        depth++
      }
      children[node] = count
      let low = lows[node]!
      const high = highs[node]!
      const shortest = low < high ? texts[low]! : ''
      if (depth > 0 && shortest.length === depth) {
        found[node] = ids.get(shortest)!
        low++
      }
      while (low < high) {
        const unit = texts[low]!.charCodeAt(depth)
        units[count] = unit
        lows[count] = low
        while (low < high && texts[low]!.charCodeAt(depth) === unit) low++
        highs[count++] = low
      }
    }
    children[count] = count
    this.#children = children.slice(0, count + 1)
    this.#units = units.slice(0, count)
    this.#ids = found.slice(0, count)
    for (let node = 1; node < children[1]!; node++) this.#firsts[units[node]!] = node
  }

  /** Returns the child of a node by a unit, and 0 for none. The root is 0. */
  child(node: number, unit: number): number {
    if (node === 0) return this.#firsts[unit]!
    const end = this.#children[node + 1]!
    let low = this.#children[node]!
    let high = end
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#units[middle]! < unit) low = middle + 1
      else high = middle
    }
    return low < end && this.#units[low] === unit ? low : 0
  }

  /** Returns the piece that ends at a node, or -1. */
  idAt(node: number): number {
    return this.#ids[node]!
  }

  /** Returns the id of a whole text; undefined if it is no piece. */
  idOf(text: string): number | undefined {
    let node = 0
    for (let at = 0; at < text.length; at++) {
      node = this.child(node, text.charCodeAt(at))
      if (node === 0) return undefined
    }
    const id = node === 0 ? -1 : this.idAt(node)
    return id < 0 ? undefined : id
  }
}
