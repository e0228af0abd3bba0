/** Normalises host names and origins of configs and requests, so that they can be compared. */

/**
 * Returns the name of a host without its port: in lower case, without a final dot, addresses as in
 * URLs (`[::1]`). Returns undefined for a text that is not a host.
 */
export function hostName(host: string): string | undefined {
  // An IPv6 address without brackets.
  const written = /^[0-9a-f:.]+$/i.test(host) && host.split(':').length > 2 ? `[${host}]` : host
  if (written === '' || /[\s/?#@\\*]/.test(written)) return undefined
  const url = parsed(`http://${written}`)
  return url && url.hostname !== '' && url.hostname !== '.' ? url.hostname.replace(/\.$/, '') : undefined
}

/**
 * Returns true if a name from `hostName` always means this machine, whatever a name server says.
 */
export function isLoopbackName(name: string): boolean {
  return name === 'localhost' || name === '[::1]' || /^127(\.\d{1,3}){3}$/.test(name)
}

/**
 * Returns why no browser sends this as an origin, and what to write instead. Returns undefined if
 * one may.
 */
export function originFault(origin: string): string | undefined {
  if (origin === 'null') return 'null is the origin of any page that hides its own; list origins that tell who calls'
  if (origin.includes('*')) return `* is not a part of an origin; list each, such as http://localhost:3000`
  const [, scheme, rest] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/i.exec(origin) ?? []
  const url = parsed(origin)
  if (scheme === undefined || rest === undefined || !url)
    return 'an origin is a scheme and a host, such as https://example.org or app://obsidian.md'
  if (/^(https?|wss?|ftp)$/i.test(scheme)) {
    const sent = url.origin.replace(/^ws/, 'http').replace(/^ftp/, 'http')
    return sent === origin ? undefined : `browsers send ${sent}; write that`
  }
  // Origins of other schemes are compared as they are.
  const sent = `${scheme.toLowerCase()}://${rest.replace(/[/?#].*$/, '').replace(/^.*@/, '')}`
  if (/\s/.test(origin)) return 'an origin has no spaces'
  return sent === origin ? undefined : `browsers send ${sent}; write that`
}

function parsed(url: string): URL | undefined {
  return URL.canParse(url) ? new URL(url) : undefined
}
