/**
 * Keeps compiled grammars by tenant: no tenant finds what another has compiled, which the time of an
 * answer would tell. As in the prefix cache, half of the room is divided evenly among the tenants:
 * what lies within a tenant's part is dropped only when no tenant exceeds its part.
 */
import type { Grammar } from './grammar.ts'

/** Bounds of a store. */
export interface StoreLimits {
  /** Most grammars, in all and of one tenant. */
  readonly grammars: number
  readonly ofTenant: number
  /** Most characters of all of them. */
  readonly text: number
}

interface Kept<T> {
  readonly key: string
  readonly tenant: Holding
  readonly text: number
  readonly value: T
}

interface Holding {
  readonly name: string
  grammars: number
  text: number
}

export class GrammarStore<T> {
  readonly #limits: StoreLimits
  readonly #onDrop: (value: T) => void
  /** By key, the one used last at the end. */
  readonly #kept = new Map<string, Kept<T>>()
  readonly #tenants = new Map<string, Holding>()
  #text = 0

  constructor(limits: StoreLimits, onDrop: (value: T) => void) {
    this.#limits = limits
    this.#onDrop = onDrop
  }

  has({ key }: Grammar): boolean {
    return this.#kept.has(key)
  }

  /** Returns a grammar and marks it as used. */
  use({ key }: Grammar): T | undefined {
    const kept = this.#kept.get(key)
    if (!kept) return undefined
    this.#kept.delete(key)
    this.#kept.set(key, kept)
    return kept.value
  }

  /** Adds a grammar that is not there, and drops others beyond the limits. */
  add({ key, tenant }: Grammar, value: T): void {
    const holding = this.#tenants.get(tenant) ?? { name: tenant, grammars: 0, text: 0 }
    this.#tenants.set(tenant, holding)
    holding.grammars++
    holding.text += key.length
    this.#text += key.length
    this.#kept.set(key, { key, tenant: holding, text: key.length, value })
    if (holding.grammars > this.#limits.ofTenant) this.#remove(this.#oldest((kept) => kept.tenant === holding))
    while (this.#kept.size > 1 && (this.#kept.size > this.#limits.grammars || this.#text > this.#limits.text))
      this.#remove(this.#victim(key))
  }

  delete({ key }: Grammar): void {
    if (this.#kept.has(key)) this.#remove(key)
  }

  /** Drops the grammars for which `which` returns true, those used longest ago first, while it is asked. */
  dropWhere(which: (value: T) => boolean): void {
    for (const [key, { value }] of [...this.#kept]) if (which(value)) this.#remove(key)
  }

  /** Returns what to drop: never the newest. */
  #victim(newest: string): string {
    const part = { grammars: this.#limits.grammars / 2, text: this.#limits.text / 2 }
    const beyond = ({ grammars, text }: Holding) =>
      grammars * this.#tenants.size > part.grammars || text * this.#tenants.size > part.text
    const older = ({ key }: Kept<T>) => key !== newest
    return this.#oldest((kept) => older(kept) && beyond(kept.tenant)) || this.#oldest(older)
  }

  /** Returns the key of the grammar that was used longest ago of those for which `which` returns true. */
  #oldest(which: (kept: Kept<T>) => boolean): string {
    for (const [key, kept] of this.#kept) if (which(kept)) return key
    return ''
  }

  #remove(key: string): void {
    const kept = this.#kept.get(key)
    if (!kept) return
    const { tenant, text, value } = kept
    this.#kept.delete(key)
    this.#text -= text
    tenant.text -= text
    if (--tenant.grammars === 0) this.#tenants.delete(tenant.name)
    this.#onDrop(value)
  }
}
