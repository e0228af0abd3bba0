/**
 * Saves the K and V of a long prefix as a file, and loads them as pages of the prefix cache, so
 * that it is computed only once.
 */
import { at } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import { pageTokens } from '../base/kv.ts'
import type { PagedCache } from '../kv/paged.ts'
import type { PrefixIndex } from '../kv/prefix.ts'
import { decodePrefix, encodePrefix, type PrefixBinding } from '../kv/prefix-file.ts'
import type { Prefill } from '../prefill/prefill.ts'

/** A saved prefix in the cache. It is not evicted before it is released. */
export interface LoadedPrefix {
  readonly tokens: number
  /** Allows its pages to be evicted. May be called twice. */
  release(): void
}

export class SavedPrefixes {
  readonly #cache: PagedCache
  readonly #prefixes: PrefixIndex
  readonly #prefill: Prefill
  readonly #binding: PrefixBinding

  constructor(cache: PagedCache, prefixes: PrefixIndex, prefill: Prefill, binding: PrefixBinding) {
    this.#cache = cache
    this.#prefixes = prefixes
    this.#prefill = prefill
    this.#binding = binding
  }

  /**
   * Computes the whole pages of `ids` and resolves with them as a file. Throws `bad_argument` for
   * less than a page.
   */
  async save(ids: readonly number[]): Promise<Uint8Array<ArrayBuffer>> {
    const whole = ids.slice(0, Math.floor(ids.length / pageTokens) * pageTokens)
    if (whole.length === 0)
      throw new ForetokenError(
        'bad_argument',
        `a prefix of ${ids.length} tokens is too short; give ${pageTokens} or more`,
      )
    const { pool } = this.#cache
    return this.#cache.borrow(async (sequence) => {
      await this.#prefill.run([{ sequence, ids: whole }])
      const pages = await Promise.all(sequence.pages.map((page) => pool.readPage(page)))
      return encodePrefix({ ids: whole, pages }, this.#binding)
    }, whole.length)
  }

  /**
   * Puts a file's pages into the prefix cache of a tenant. Throws what `decodePrefix` throws, and
   * `out_of_pages`.
   */
  async load(file: Uint8Array, tenant: string): Promise<LoadedPrefix> {
    const { ids, pages } = await decodePrefix(file, this.#binding)
    const sequence = this.#cache.open(ids.length)
    try {
      sequence.extend(ids.length, 0)
      pages.forEach((bytes, index) => {
        this.#cache.pool.writePage(at(sequence.pages, index), bytes)
      })
      this.#prefixes.insert(tenant, ids, sequence.pages, sequence.long)
      return { tokens: ids.length, release: () => sequence.release() }
    } catch (error) {
      sequence.release()
      throw error
    }
  }
}
