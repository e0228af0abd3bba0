/** Which endpoint is asked, and what it may be given: a key is for the origin for which it was typed, a conversation for the address to which it went. */

export interface EndpointSettings {
  /** As it was typed; ends in `/v1` for most. */
  readonly address: string
  /** By origin. They stay in the tab's memory. */
  readonly keys: Readonly<Record<string, string>>
  readonly model: string
}

/** The same for all ways of writing one address. */
export function placeOf(address: string): string {
  const url = parsed(address)
  if (!url) return address.trim()
  return url.origin + url.pathname.replace(/\/+$/, '') + url.search
}

/** The address of `path` at the endpoint; throws a TypeError for an address that is none. */
export function addressOf(address: string, path: string): string {
  const url = parsed(address)
  if (!url)
    throw new TypeError(`${address.trim() || 'nothing'} is no address; give one that begins with https:// or http://`)
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}${path}${url.search}`
}

/** For people: host and port, or what was typed. */
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
