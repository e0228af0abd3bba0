/** Bearer keys. The server knows their SHA-256 only, and compares with all of them in constant time. */
import type { Config, Key } from '../config.ts'
import { ApiError } from '../errors.ts'
import { sha256 } from './sha256.ts'

/** Who asks; `key` is undefined where the server has no keys. */
export interface Caller {
  readonly key: Key | undefined
  /** Whose cached prefixes are used. */
  readonly tenant: string
  /** For a log: tells keys apart and gives none away. */
  readonly name: string
}

const nobody: Caller = { key: undefined, tenant: '', name: '' }

export class Keys {
  readonly #keys: readonly { readonly key: Key; readonly hash: Uint8Array }[]

  constructor({ keys }: Config) {
    this.#keys = keys.map((key) => ({
      key,
      hash: Uint8Array.from(key.sha256.match(/../g)!, (hex) => Number.parseInt(hex, 16)),
    }))
  }

  /** Throws an ApiError of 401. */
  callerOf(request: Request): Caller {
    if (this.#keys.length === 0) return nobody
    const given = /^Bearer +(\S+) *$/i.exec(request.headers.get('authorization') ?? '')?.[1]
    const key = given === undefined ? undefined : this.#find(given)
    if (!key)
      throw new ApiError(
        401,
        `${given === undefined ? 'no key was given' : 'that key is not known'}; send Authorization: Bearer KEY`,
        {
          code: 'invalid_api_key',
          headers: { 'www-authenticate': 'Bearer' },
        },
      )
    const tenant = key.tenant === undefined ? `key:${key.sha256}` : `tenant:${key.tenant}`
    return { key, tenant, name: key.tenant ?? key.sha256.slice(0, 8) }
  }

  #find(given: string): Key | undefined {
    const digest = sha256(given)
    let found: Key | undefined
    for (const { key, hash } of this.#keys) {
      let differing = 0
      for (let at = 0; at < 32; at++) differing |= digest[at]! ^ hash[at]!
      if (differing === 0) found = key
    }
    return found
  }
}
