/**
 * Which names a server answers to, and which pages may call it. A page on another site can send requests to a server on its reader's
 * machine: directly, or by letting a name of its own point to 127.0.0.1 (DNS rebinding). Host and Origin tell both apart from a user.
 */
import type { Config } from '../config.ts'
import { ApiError } from '../errors.ts'

const loopback = ['localhost', '127.0.0.1', '[::1]']

/** Throws an ApiError of 403. */
export function checkHost(request: Request, { listen, hosts, origins }: Config): void {
  const host = hostOf(request)
  const allowed = hosts ?? (listen === 'loopback' ? loopback : undefined)
  if (allowed && !allowed.includes(nameOf(host)))
    throw new ApiError(403, 'this server does not answer to that host name; config.hosts lists those it does', {
      code: 'host_not_allowed',
    })
  const origin = request.headers.get('origin')
  if (listen === 'loopback' && origin !== null && !origins.includes(origin) && !sameOrigin(origin, host))
    throw new ApiError(403, 'pages of that origin may not call this server; config.origins lists those that may', {
      code: 'origin_not_allowed',
    })
}

function hostOf(request: Request): string {
  return (request.headers.get('host') ?? new URL(request.url).host).toLowerCase()
}

/** Without its port. */
function nameOf(host: string): string {
  return host.replace(/:\d*$/, '')
}

function sameOrigin(origin: string, host: string): boolean {
  return origin === `http://${host}` || origin === `https://${host}`
}
