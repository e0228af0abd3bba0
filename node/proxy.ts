/**
 * Chooses the proxy for an address from the environment, as curl does: HTTPS_PROXY, HTTP_PROXY,
 * ALL_PROXY and NO_PROXY, in either case; lower case wins.
 */
import { BlockList, isIP } from 'node:net'
import { ForetokenError } from '../src/index.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/**
 * Returns the proxy for `url`; undefined if it is reached directly. Throws `bad_argument` for a
 * proxy that cannot be used.
 */
export function proxyFor(url: URL, env: Environment = process.env): URL | undefined {
  const name = url.protocol === 'https:' ? 'https_proxy' : 'http_proxy'
  const text = setting(name, env) ?? setting('all_proxy', env)
  if (text === undefined || isDirect(url, setting('no_proxy', env) ?? '')) return undefined
  const proxy = /^[a-z][\w+.-]*:\/\//i.test(text) ? text : `http://${text}`
  if (URL.canParse(proxy) && /^https?:$/.test(new URL(proxy).protocol)) return new URL(proxy)
  throw new ForetokenError(
    'bad_argument',
    `${name.toUpperCase()} must name an http or https proxy, such as http://proxy:3128; others are not supported`,
  )
}

/**
 * Returns true if `NO_PROXY` covers an address. Its entries are names with everything below them,
 * addresses, networks and `*`; a port may follow.
 */
function isDirect(url: URL, noProxy: string): boolean {
  const host = bare(url.hostname)
  const port = url.port || (url.protocol === 'https:' ? '443' : '80')
  return noProxy.split(/[\s,]+/).some((entry) => {
    if (entry === '') return false
    const [, name = '', number] = /^(.*?|\[.*\])(?::(\d+))?$/.exec(isIP(entry) === 6 ? `[${entry}]` : entry) ?? []
    if (number !== undefined && number !== port) return false
    const rule = bare(name.toLowerCase()).replace(/^\*?\./, '')
    if (rule === '*') return true
    return rule.includes('/') ? inNetwork(host, rule) : host === rule || (!isIP(host) && host.endsWith(`.${rule}`))
  })
}

function setting(name: string, env: Environment): string | undefined {
  return env[name]?.trim() || env[name.toUpperCase()]?.trim() || undefined
}

/** Removes the brackets of an IPv6 address and the trailing dot of a name. */
function bare(host: string): string {
  return host.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '')
}

function inNetwork(host: string, network: string): boolean {
  const [address = '', bits = ''] = network.split('/')
  const family = isIP(address)
  if (family === 0 || isIP(host) !== family || !/^\d{1,3}$/.test(bits) || Number(bits) > (family === 4 ? 32 : 128))
    return false
  const list = new BlockList()
  const type = family === 4 ? 'ipv4' : 'ipv6'
  list.addSubnet(address, Number(bits), type)
  return list.check(host, type)
}
