/**
 * Finished prefixes, kept for the next request that begins with the same tokens.
 *
 * A radix tree whose edges are whole pages: a node is one page of K and V, reached by the tokens of that page and of all
 * pages before it. Each tenant has a tree of its own. Edges compare tokens, not a hash of them: a collision would
 * show one request another's prompt.
 *
 * Half of the budget is shared out evenly among the tenants: what a tenant has within its part is evicted only when nobody has more
 * than that. So one tenant can't push out all that another has; the other half goes to whoever used it last.
 */
import { pageTokens } from '../base/kv.ts'
import type { PagedCache } from './paged.ts'

interface Tenant {
  readonly name: string
  readonly children: Map<string, Node>
  /** Its nodes. */
  pages: number
}

interface Node {
  readonly tenant: Tenant
  readonly parent: Node | Tenant
  /** The tokens that lead here from the parent: a page of them. */
  readonly edge: string
  readonly children: Map<string, Node>
  readonly page: number
}

export class PrefixIndex {
  readonly #cache: PagedCache
  readonly #maxPages: number
  readonly #tenants = new Map<string, Tenant>()
  /**
   * Every node, least recently used first. A use moves a path's nodes to the end, deepest first: so a node stands behind
   * all that are below it, and what is dropped first is always a leaf.
   */
  readonly #used = new Set<Node>()

  /** Keeps at most `maxBytes` of pages that no running sequence holds, and gives them up to whoever needs pages of `cache`. */
  constructor(cache: PagedCache, maxBytes: number) {
    this.#cache = cache
    this.#maxPages = Math.min(Math.floor(maxBytes / cache.pool.pageBytes), cache.maxPages)
    cache.makeRoom = (pages, how) => this.#evict(pages, how)
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
    const root = this.#root(tenant)
    let parent: Node | Tenant = path.at(-1) ?? root
    for (let at = path.length; at < whole; at++) {
      const next: Node = { tenant: root, parent, edge: edgeOf(ids, at), children: new Map(), page: pages[at]! }
      this.#cache.share(next.page)
      parent.children.set(next.edge, next)
      root.pages++
      path.push(next)
      parent = next
    }
    this.#touch(path)
    this.trim()
  }

  /** Lets go of what is over the budget. */
  trim(): void {
    if (this.#used.size > this.#maxPages) this.evict(this.#used.size - this.#maxPages)
  }

  /** Frees up to `pages` pages that nobody else holds; returns how many. */
  evict(pages: number): number {
    return this.#evict(pages, 'some')
  }

  /** Forgets everything; pages in use stay with who uses them. */
  clear(): void {
    for (const { page } of this.#used) this.#cache.drop(page)
    this.#used.clear()
    this.#tenants.clear()
  }

  #evict(pages: number, how: 'all' | 'some'): number {
    const victims = this.#victims(pages)
    if (how === 'all' && victims.size < pages) return 0
    for (const node of victims) this.#remove(node)
    return victims.size
  }

  /** Up to `most` nodes, leaves first, that nobody holds: least recently used first, those beyond a tenant's part before all others. */
  #victims(most: number): Set<Node> {
    const victims = new Set<Node>()
    const part = Math.floor(this.#maxPages / 2 / Math.max(1, this.#tenants.size))
    const left = new Map<Tenant, number>()
    // A leaf that goes may uncover its parent, which stands later in the same walk.
    for (const guarded of [true, false])
      for (const node of this.#used) {
        if (victims.size >= most) return victims
        const has = left.get(node.tenant) ?? node.tenant.pages
        if ((guarded && has <= part) || victims.has(node) || this.#cache.references(node.page) > 1) continue
        if (!every(node.children.values(), (child) => victims.has(child))) continue
        victims.add(node)
        left.set(node.tenant, has - 1)
      }
    return victims
  }

  #walk(tenant: string, ids: readonly number[], most: number): Node[] {
    const path: Node[] = []
    let node: Node | Tenant | undefined = this.#tenants.get(tenant)
    for (let at = 0; node && at < most; at++) {
      const next: Node | undefined = node.children.get(edgeOf(ids, at))
      if (next) path.push(next)
      node = next
    }
    return path
  }

  #touch(path: readonly Node[]): void {
    for (let at = path.length - 1; at >= 0; at--) {
      this.#used.delete(path[at]!)
      this.#used.add(path[at]!)
    }
  }

  #root(name: string): Tenant {
    let root = this.#tenants.get(name)
    if (!root) {
      root = { name, children: new Map(), pages: 0 }
      this.#tenants.set(name, root)
    }
    return root
  }

  #remove(node: Node): void {
    const { tenant, parent, edge, page } = node
    parent.children.delete(edge)
    this.#used.delete(node)
    this.#cache.drop(page)
    if (--tenant.pages === 0) this.#tenants.delete(tenant.name)
  }
}

function every<T>(all: Iterable<T>, holds: (one: T) => boolean): boolean {
  for (const one of all) if (!holds(one)) return false
  return true
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
