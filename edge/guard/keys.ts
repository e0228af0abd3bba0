/** Bearer keys. The server knows their SHA-256 only, and compares with all of them in constant time. */
import { equalBytes, fromHex, sha256Sync } from '../../src/index.ts'
import type { Config, Key } from '../config.ts'
import { ApiError } from '../errors.ts'

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
      hash: fromHex(key.sha256, 32),
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
    const digest = sha256Sync(given)
    let found: Key | undefined
    for (const { key, hash } of this.#keys) if (equalBytes(digest, hash)) found = key
    return found
  }
}
