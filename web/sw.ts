/** The page without a network: its own files, by their hashes, from a cache of this version. The model is kept elsewhere (store.ts). */
declare const __VERSION__: string
declare const __ASSETS__: readonly string[]

const cacheName = `foretoken-${__VERSION__}`
const worker = self as unknown as {
  addEventListener(type: string, listener: (event: ExtendableEvent) => void): void
  skipWaiting(): Promise<void>
  readonly clients: { claim(): Promise<void> }
  readonly registration: { readonly scope: string }
}

interface ExtendableEvent {
  readonly request: Request
  waitUntil(work: Promise<unknown>): void
  respondWith(response: Promise<Response>): void
}

worker.addEventListener('install', (event) => {
  event.waitUntil(caches.open(cacheName).then((cache) => cache.addAll([...__ASSETS__])))
  event.waitUntil(worker.skipWaiting())
})

worker.addEventListener('activate', (event) => {
  const old = caches.keys().then((names) => names.filter((name) => name.startsWith('foretoken-') && name !== cacheName))
  event.waitUntil(old.then((names) => Promise.all(names.map((name) => caches.delete(name)))))
  event.waitUntil(worker.clients.claim())
})

worker.addEventListener('fetch', (event) => {
  const { request } = event
  const url = new URL(request.url)
  const path = url.href.startsWith(worker.registration.scope)
    ? url.href.slice(worker.registration.scope.length)
    : undefined
  if (request.method !== 'GET' || path === undefined) return
  // The page itself: a new version where there is a network, else the one that is here.
  if (path === '' || path === 'index.html') event.respondWith(fetch(request).catch(() => kept('./')))
  else if (path === 'page/model.json') event.respondWith(manifest(request))
  else if (__ASSETS__.includes(path)) event.respondWith(kept(path, request))
})

/** From the cache of this version; else as it is. */
async function kept(path: string, request?: Request): Promise<Response> {
  const found = await (await caches.open(cacheName)).match(new URL(path, worker.registration.scope).href)
  return found ?? (request ? fetch(request) : Response.error())
}

/** What the model is: kept from the last time that it could be asked. */
async function manifest(request: Request): Promise<Response> {
  const cache = await caches.open(cacheName)
  try {
    const response = await fetch(request)
    if (response.ok) await cache.put(request.url, response.clone())
    return response
  } catch {
    return (await cache.match(request.url)) ?? Response.error()
  }
}
