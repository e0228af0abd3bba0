/**
 * Checks the keys of requests: `Authorization: Bearer KEY`, or `x-api-key`, as Anthropic's clients
 * may send it. The server knows only their SHA-256, and compares with all of them in
 * constant time.
 */
import { equalBytes, fromHex, sha256Sync } from '../../src/index.ts'
import type { Config, Key } from '../config.ts'
import { ApiError } from '../errors.ts'

/** The sender of a request. */
export interface Caller {
  /** Undefined if the server has no keys. */
  readonly key: Key | undefined
  /** Owns the cached prefixes that the request may use. */
  readonly tenant: string
  /** Name for logs. Distinguishes keys without revealing them. */
  readonly name: string
}

const anonymous: Caller = { key: undefined, tenant: '', name: '' }

/** The keys of a server's config. */
export class Keys {
  readonly #keys: readonly { readonly key: Key; readonly hash: Uint8Array }[]

  constructor({ keys }: Config) {
    this.#keys = keys.map((key) => ({
      key,
      hash: fromHex(key.sha256, 32),
    }))
  }

  /** Returns the sender of a request. Throws an ApiError of 401 if it sent no known key. */
  callerOf(request: Request): Caller {
    if (this.#keys.length === 0) return anonymous
    const sent = keyOf(request.headers)
    const key = sent === undefined ? undefined : this.#find(sent)
    if (!key)
      throw new ApiError(
        401,
        `${sent === undefined ? 'no key was given' : 'that key is not known'}; send Authorization: Bearer KEY, or x-api-key`,
        {
          code: 'invalid_api_key',
          headers: { 'www-authenticate': 'Bearer' },
        },
      )
    const tenant = key.tenant === undefined ? `key:${key.sha256}` : `tenant:${key.tenant}`
    return { key, tenant, name: key.tenant ?? key.sha256.slice(0, 8) }
  }

  #find(sent: string): Key | undefined {
    const digest = sha256Sync(sent)
    let found: Key | undefined
    for (const { key, hash } of this.#keys) if (equalBytes(digest, hash)) found = key
    return found
  }
}

/** Returns the key that a request sent. Some clients also send a placeholder as `x-api-key`. */
function keyOf(headers: Headers): string | undefined {
  const authorization = headers.get('authorization')
  if (authorization !== null) return /^Bearer +(\S+) *$/i.exec(authorization)?.[1]
  return headers.get('x-api-key') ?? undefined
}
