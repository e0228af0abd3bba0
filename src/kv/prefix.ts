/**
 * Finished prefixes, kept for the next request that begins with the same tokens.
 *
 * A radix tree whose edges are whole pages: a node is one page of K and V, reached by the tokens of that page and of all
 * pages before it. Each tenant has a tree of its own. Edges compare tokens, not a hash of them: a collision would
 * show one request another's prompt.
 */
import { pageTokens } from '../types.ts'
import type { PagedCache } from './paged.ts'

interface Node {
  readonly parent: Node | undefined
  /** What leads here from the parent: a page of tokens, or the tenant. */
  readonly edge: string
  readonly children: Map<string, Node>
  /** -1 for a tenant's root. */
  readonly page: number
}

export class PrefixIndex {
  readonly #cache: PagedCache
  readonly #maxPages: number
  readonly #tenants = new Map<string, Node>()
  /**
   * Every node, least recently used first. A use moves a path's nodes to the end, deepest first: so a node stands behind
   * all that are below it, and what is dropped first is always a leaf.
   */
  readonly #used = new Set<Node>()

  /** Keeps at most `maxBytes` of pages that no running sequence holds. */
  constructor(cache: PagedCache, maxBytes: number) {
    this.#cache = cache
    this.#maxPages = Math.floor(maxBytes / cache.pool.pageBytes)
  }

  /** Pages held, those that sequences hold, too, included. */
  get pages(): number {
    return this.#used.size
  }

  /**
   * The pages of the longest known prefix of `ids`, to be adopted at once. The last token is never among them: somebody has
   * to compute its logits.
   */
  match(tenant: string, ids: readonly number[]): number[] {
    const path = this.#walk(tenant, ids, usable(ids))
    this.#touch(path)
    return path.map(({ page }) => page)
  }

  /** How many tokens `match` would find. Uses nothing. */
  known(tenant: string, ids: readonly number[]): number {
    return this.#walk(tenant, ids, usable(ids)).length * pageTokens
  }

  /** Keeps the whole pages of `ids`, which `pages` hold from position 0. Pages of exact K and V only. */
  insert(tenant: string, ids: readonly number[], pages: readonly number[]): void {
    const whole = Math.min(Math.floor(ids.length / pageTokens), pages.length)
    if (whole === 0) return
    const path = this.#walk(tenant, ids, whole)
    let node = path.at(-1) ?? this.#root(tenant)
    for (let at = path.length; at < whole; at++) {
      const next: Node = { parent: node, edge: edgeOf(ids, at), children: new Map(), page: pages[at]! }
      this.#cache.share(next.page)
      node.children.set(next.edge, next)
      path.push(next)
      node = next
    }
    this.#touch(path)
    this.trim()
  }

  /** Lets go of what is over the budget. */
  trim(): void {
    if (this.#used.size > this.#maxPages) this.evict(this.#used.size - this.#maxPages)
  }

  /** Frees up to `pages` pages that nobody else holds, least recently used first; returns how many. */
  evict(pages: number): number {
    let freed = 0
    // A removed leaf may uncover its parent, which stands later in the same walk.
    for (const node of this.#used) {
      if (freed >= pages) break
      if (node.children.size > 0 || this.#cache.references(node.page) > 1) continue
      this.#remove(node)
      freed++
    }
    return freed
  }

  /** Forgets everything; pages in use stay with who uses them. */
  clear(): void {
    for (const { page } of this.#used) this.#cache.drop(page)
    this.#used.clear()
    this.#tenants.clear()
  }

  #walk(tenant: string, ids: readonly number[], most: number): Node[] {
    const path: Node[] = []
    let node = this.#tenants.get(tenant)
    for (let at = 0; node && at < most; at++) {
      node = node.children.get(edgeOf(ids, at))
      if (node) path.push(node)
    }
    return path
  }

  #touch(path: readonly Node[]): void {
    for (let at = path.length - 1; at >= 0; at--) {
      this.#used.delete(path[at]!)
      this.#used.add(path[at]!)
    }
  }

  #root(tenant: string): Node {
    let root = this.#tenants.get(tenant)
    if (!root) {
      root = { parent: undefined, edge: tenant, children: new Map(), page: -1 }
      this.#tenants.set(tenant, root)
    }
    return root
  }

  #remove(node: Node): void {
    const parent = node.parent!
    parent.children.delete(node.edge)
    this.#used.delete(node)
    this.#cache.drop(node.page)
    if (!parent.parent && parent.children.size === 0) this.#tenants.delete(parent.edge)
  }
}

function usable(ids: readonly number[]): number {
  return Math.floor((ids.length - 1) / pageTokens)
}

/** The tokens of page `at` as a string: two UTF-16 units each. */
function edgeOf(ids: readonly number[], at: number): string {
  const units: number[] = []
  for (let i = at * pageTokens; i < (at + 1) * pageTokens; i++) units.push(ids[i]! & 0xffff, ids[i]! >>> 16)
  return String.fromCharCode(...units)
}
