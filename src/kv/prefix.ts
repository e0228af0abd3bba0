/**
 * Keeps finished prefixes for later requests that begin with the same tokens.
 *
 * A radix tree whose edges are whole pages: a node is one page of K and V, reached by the tokens of
 * that page and of all pages before it. Each tenant has its own tree. Edges compare tokens rather
 * than a hash of them, since a collision would expose one request's prompt to another.
 *
 * Half of the budget is divided evenly among the tenants: pages within a tenant's part are evicted
 * only when no tenant exceeds its part. So one tenant can't evict everything of another; the other
 * half goes to the most recent users.
 *
 * Pages of long sequences (`Sequence.long`) have edges of their own, since their keys are turned by
 * other factors.
 */
import { at } from '../base/at.ts'
import { pageTokens } from '../base/kv.ts'
import { textOfIds } from './id-text.ts'
import type { PagedCache } from './paged.ts'

interface Tenant {
  readonly name: string
  readonly children: Map<string, Node>
  /** Number of its nodes. */
  pages: number
}

interface Node {
  readonly tenant: Tenant
  readonly parent: Node | Tenant
  /** The tokens that lead here from the parent: one page of them. */
  readonly edge: string
  readonly children: Map<string, Node>
  readonly page: number
}

/** The index of cached prefixes of one engine. */
export class PrefixIndex {
  readonly #cache: PagedCache
  readonly #maxPages: number
  readonly #tenants = new Map<string, Tenant>()
  /**
   * All nodes, least recently used first. Each use moves the nodes of a path to the end, deepest
   * first: so a node always follows its descendants, and the first one to be dropped is always a
   * leaf.
   */
  readonly #used = new Set<Node>()

  /**
   * Keeps at most `maxBytes` of pages that no running sequence holds, and releases them when
   * `cache` needs pages.
   */
  constructor(cache: PagedCache, maxBytes: number) {
    this.#cache = cache
    this.#maxPages = Math.min(Math.floor(maxBytes / cache.pool.pageBytes), cache.maxPages)
    cache.makeRoom = (pages, how) => this.#evict(pages, how)
  }

  /** Number of pages held, including those that sequences hold too. */
  get pages(): number {
    return this.#used.size
  }

  /**
   * Returns the pages of the longest known prefix of `ids`, to be adopted at once; those of long
   * sequences if `long`. The last token
   * is never included, since its logits have to be computed.
   */
  match(tenant: string, ids: readonly number[], long = false): number[] {
    const path = this.#walk(tenant, ids, usable(ids), long)
    this.#touch(path)
    return path.map(({ page }) => page)
  }

  /** Returns how many tokens `match` would find, without marking them as used. */
  known(tenant: string, ids: readonly number[], long = false): number {
    return this.#walk(tenant, ids, usable(ids), long).length * pageTokens
  }

  /**
   * Keeps the whole pages of `ids`, which `pages` hold from position 0 on. K and V must be exact.
   */
  insert(tenant: string, ids: readonly number[], pages: readonly number[], long = false): void {
    const whole = Math.min(Math.floor(ids.length / pageTokens), pages.length)
    if (whole === 0) return
    const path = this.#walk(tenant, ids, whole, long)
    const root = this.#root(tenant)
    let parent: Node | Tenant = path.at(-1) ?? root
    for (let index = path.length; index < whole; index++) {
      const edge = edgeOf(ids, index, long)
      const next: Node = { tenant: root, parent, edge, children: new Map(), page: at(pages, index) }
      this.#cache.share(next.page)
      parent.children.set(next.edge, next)
      root.pages++
      path.push(next)
      parent = next
    }
    this.#touch(path)
    this.trim()
  }

  /** Evicts what exceeds the budget. */
  trim(): void {
    if (this.#used.size > this.#maxPages) this.evict(this.#used.size - this.#maxPages)
  }

  /** Frees up to `pages` pages without other holders, and returns how many. */
  evict(pages: number): number {
    return this.#evict(pages, 'some')
  }

  /** Drops everything. Pages that sequences use stay with them. */
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

  /**
   * Returns up to `most` nodes without other holders, leaves first: least recently used first, with
   * those beyond a tenant's part before all others.
   */
  #victims(most: number): Set<Node> {
    const victims = new Set<Node>()
    const part = Math.floor(this.#maxPages / 2 / Math.max(1, this.#tenants.size))
    const left = new Map<Tenant, number>()
    // Removing a leaf may expose its parent, which comes later in the same walk.
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

  #walk(tenant: string, ids: readonly number[], most: number, long: boolean): Node[] {
    const path: Node[] = []
    let node: Node | Tenant | undefined = this.#tenants.get(tenant)
    for (let index = 0; node && index < most; index++) {
      const next: Node | undefined = node.children.get(edgeOf(ids, index, long))
      if (next) path.push(next)
      node = next
    }
    return path
  }

  #touch(path: readonly Node[]): void {
    for (const node of path.toReversed()) {
      this.#used.delete(node)
      this.#used.add(node)
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

function every<T>(values: Iterable<T>, holds: (value: T) => boolean): boolean {
  for (const value of values) if (!holds(value)) return false
  return true
}

function usable(ids: readonly number[]): number {
  return Math.floor((ids.length - 1) / pageTokens)
}

/** Encodes the tokens of page `index` as a string; the first page of a long sequence has a mark. */
function edgeOf(ids: readonly number[], index: number, long: boolean): string {
  const text = textOfIds(ids.slice(index * pageTokens, (index + 1) * pageTokens))
  return long && index === 0 ? `${text}+` : text
}
