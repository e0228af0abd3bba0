/**
 * Service worker that shows the page without a network. One visit is enough: installing fetches
 * everything a visit needs, including the manifest, since the page fetched its own files before
 * this worker took control. Weights are stored elsewhere (store.ts).
 */
declare const __VERSION__: string
declare const __ASSETS__: readonly string[]
/** Files that are kept once they were used. */
declare const __LATER__: readonly string[]
/** The builds of the core, which are among the later files: a visit needs those of one kind. */
declare const __BUILDS__: { readonly threads: readonly string[]; readonly single: readonly string[] }

const prefix = 'foretoken-'
const cacheName = `${prefix}${__VERSION__}`
const manifestPath = 'page/model.json'
const worker = self as unknown as {
  addEventListener(type: string, listener: (event: ExtendableEvent) => void): void
  skipWaiting(): Promise<void>
  readonly clients: { claim(): Promise<void> }
  readonly registration: { readonly scope: string }
  readonly location: { readonly href: string }
}
/** The page says in this worker's address which builds of the core it runs (`registerWorker`). */
const builds = new URL(worker.location.href).searchParams.has('threads') ? __BUILDS__.threads : __BUILDS__.single

interface ExtendableEvent {
  readonly request: Request
  waitUntil(work: Promise<unknown>): void
  respondWith(response: Promise<Response>): void
}

worker.addEventListener('install', (event) => {
  event.waitUntil(install())
  event.waitUntil(worker.skipWaiting())
})

worker.addEventListener('activate', (event) => {
  event.waitUntil(removeOld())
  event.waitUntil(worker.clients.claim())
})

worker.addEventListener('fetch', (event) => {
  const { request } = event
  const path = pathOf(request.url)
  if (request.method !== 'GET' || path === undefined) return
  if (path === '' || path === 'index.html') event.respondWith(latestPage(request))
  else if (path === manifestPath) event.respondWith(latestManifest(request))
  else if (__LATER__.includes(path)) event.respondWith(keptFromNowOn(path, request))
  else if (__ASSETS__.includes(path)) event.respondWith(kept(path).then((found) => found ?? fetch(request)))
})

async function install(): Promise<void> {
  const cache = await caches.open(cacheName)
  // Hashed names may come from the browser's cache; others may have changed.
  await cache.addAll(
    [...__ASSETS__, ...builds].map(
      (path) => new Request(addressOf(path), { cache: isHashed(path) ? 'default' : 'no-cache' }),
    ),
  )
  const manifest = addressOf(manifestPath)
  const response = await fetch(manifest, { cache: 'no-cache' }).catch(() => undefined)
  // If the manifest cannot be fetched now, the one of an older version of the page is used.
  if (response?.status === 404) return
  const known = response && isFile(response) ? response : await keptByOlder(manifest)
  if (known) await cache.put(manifest, known)
}

/** Returns a file that is loaded on first use, and keeps it for visits without a network. */
async function keptFromNowOn(path: string, request: Request): Promise<Response> {
  const found = await kept(path)
  if (found) return found
  const response = await fetch(request)
  if (isFile(response)) await (await caches.open(cacheName)).put(addressOf(path), response.clone())
  return response
}

async function keptByOlder(address: string): Promise<Response | undefined> {
  for (const name of (await caches.keys()).reverse()) {
    const found = name.startsWith(prefix) && (await (await caches.open(name)).match(address))
    if (found) return found
  }
  return undefined
}

async function removeOld(): Promise<void> {
  const names = await caches.keys()
  await Promise.all(
    names.filter((name) => name.startsWith(prefix) && name !== cacheName).map((name) => caches.delete(name)),
  )
}

/** Returns the current page, or the stored one if the server fails or cannot be reached. */
async function latestPage(request: Request): Promise<Response> {
  const response = await fetch(request).catch(() => undefined)
  if (response && response.status < 500) return response
  return (await kept('./')) ?? response ?? Response.error()
}

/**
 * Returns the current manifest and stores it, or the stored one if the server fails. Only a 404
 * means that there is none.
 */
async function latestManifest(request: Request): Promise<Response> {
  const response = await fetch(request).catch(() => undefined)
  const cache = await caches.open(cacheName)
  if (response && isFile(response)) await cache.put(addressOf(manifestPath), response.clone())
  else if (response?.status === 404) await cache.delete(addressOf(manifestPath))
  else return (await kept(manifestPath)) ?? response ?? Response.error()
  return response
}

/** Some servers answer with a page if a file is missing. */
function isFile({ ok, headers }: Response): boolean {
  return ok && !(headers.get('content-type') ?? '').startsWith('text/html')
}

async function kept(path: string): Promise<Response | undefined> {
  return (await caches.open(cacheName)).match(addressOf(path))
}

/**
 * Returns a path relative to the page's folder, without its query; undefined if it is elsewhere.
 */
function pathOf(url: string): string | undefined {
  const { scope } = worker.registration
  const { origin, pathname } = new URL(url)
  return (origin + pathname).startsWith(scope) ? (origin + pathname).slice(scope.length) : undefined
}

function addressOf(path: string): string {
  return new URL(path, worker.registration.scope).href
}

function isHashed(path: string): boolean {
  return /-(?:[0-9a-f]{12}|[0-9A-Z]{8})\.\w+$/.test(path)
}
