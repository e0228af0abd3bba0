/** Remembers which paragraphs prompts had, so that those are computed and kept that come again. */

/** Paragraphs to remember of a tenant, and tenants, the latest of both. */
const most = { ofTenant: 2048, tenants: 64 }

export class SeenParagraphs {
  /** Hashes by tenant, both in the order of their use. */
  readonly #tenants = new Map<string, Set<number>>()

  /**
   * Returns whether a prompt of the tenant had the paragraph before, and remembers it. Now and then two
   * paragraphs have one hash: one of them is then kept the first time, and changes no answer.
   */
  again(tenant: string, ids: readonly number[]): boolean {
    const seen = this.#tenants.get(tenant) ?? new Set()
    this.#tenants.delete(tenant)
    this.#tenants.set(tenant, seen)
    const hash = hashOf(ids)
    const again = seen.delete(hash)
    seen.add(hash)
    dropFirst(seen, most.ofTenant)
    dropFirst(this.#tenants, most.tenants)
    return again
  }
}

function dropFirst(all: Pick<Set<unknown>, 'size' | 'keys' | 'delete'>, most: number): void {
  if (all.size <= most) return
  for (const first of all.keys()) {
    all.delete(first)
    return
  }
}

/** Returns a hash of 52 bits: two of FNV-1a with other primes. */
function hashOf(ids: readonly number[]): number {
  let [a, b] = [0x811c9dc5, 0x9e3779b9]
  for (const id of ids) {
    a = Math.imul(a ^ id, 0x01000193)
    b = Math.imul(b ^ id ^ (a >>> 15), 0x85ebca6b)
  }
  return (a >>> 0) * 2 ** 20 + (b >>> 12)
}
