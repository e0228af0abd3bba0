/**
 * Checks which host names a server answers to and which pages may call it. A page of another site
 * can send requests to a server on its reader's machine, directly or through a name of its own that
 * resolves to 127.0.0.1 (DNS rebinding). The headers Host and Origin distinguish both from a user.
 */
import type { Config } from '../config.ts'
import { ApiError } from '../errors.ts'
import { hostName, isLoopbackName } from './names.ts'

/** Throws an ApiError of 403 for a host or an origin that is not allowed. */
export function checkHost(request: Request, { listen, hosts, origins }: Config): void {
  const host = request.headers.get('host') ?? new URL(request.url).host
  const name = hostName(host)
  const answers = hosts
    ? name !== undefined && hosts.includes(name)
    : listen === 'public' || (name !== undefined && isLoopbackName(name))
  if (!answers)
    throw new ApiError(403, 'this server does not answer to that host name; config.hosts lists those it does', {
      code: 'host_not_allowed',
    })
  const origin = request.headers.get('origin')
  if (listen === 'loopback' && origin !== null && !origins.includes(origin) && !sameOrigin(origin, host))
    throw new ApiError(403, 'pages of that origin may not call this server; config.origins lists those that may', {
      code: 'origin_not_allowed',
    })
}

/** Returns true if a page came from this server itself, under whatever scheme a proxy gives it. */
function sameOrigin(origin: string, host: string): boolean {
  return ['http', 'https'].some((scheme) => {
    const url = `${scheme}://${host}`
    return URL.canParse(url) && new URL(url).origin === origin
  })
}
