/**
 * The endpoint's settings and what may be sent to it: a key goes only to the origin it was entered
 * for, a conversation only to the address where it began.
 */

export interface EndpointSettings {
  /** The address as entered; usually it ends in `/v1`. */
  readonly address: string
  /** API keys by origin. They stay in the tab's memory. */
  readonly keys: Readonly<Record<string, string>>
  readonly model: string
}

/** Returns a canonical form, the same for all spellings of one address. */
export function placeOf(address: string): string {
  const url = parsed(address)
  if (!url) return address.trim()
  return url.origin + url.pathname.replace(/\/+$/, '') + url.search
}

/** Returns the URL of `path` at the endpoint. Throws a TypeError for an invalid address. */
export function addressOf(address: string, path: string): string {
  const url = parsed(address)
  if (!url)
    throw new TypeError(
      `${address.trim() || 'nothing'} is not an address; enter one that begins with https:// or http://`,
    )
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}${path}${url.search}`
}

/** Returns host and port for display, or the text as entered. */
export function hostOf(address: string): string {
  return parsed(address)?.host ?? address.trim()
}

export function keyOf({ address, keys }: Pick<EndpointSettings, 'address' | 'keys'>): string {
  const origin = parsed(address)?.origin
  return origin !== undefined && Object.hasOwn(keys, origin) ? keys[origin]! : ''
}

export function withKey(settings: EndpointSettings, key: string): EndpointSettings {
  const origin = parsed(settings.address)?.origin
  if (origin === undefined) return settings
  const { [origin]: _, ...others } = settings.keys
  return { ...settings, keys: key === '' ? others : { ...others, [origin]: key } }
}

function parsed(address: string): URL | undefined {
  try {
    const url = new URL(address.trim())
    return /^https?:$/.test(url.protocol) && url.host !== '' ? url : undefined
  } catch {
    return undefined
  }
}
