/** The page's side of its service worker, which shows the page without a network. */

/** Registers the service worker. If the browser refuses it, the page works without it. */
export function registerWorker(base: string): void {
  // Its address says which builds of the core it keeps: threads need a page that is isolated.
  const address = new URL(globalThis.crossOriginIsolated ? 'sw.js?threads' : 'sw.js', base)
  navigator.serviceWorker?.register(address, { updateViaCache: 'none' }).catch(() => {})
}

/**
 * Resolves once the next visit needs no network for the page and its manifest; never, if that is
 * impossible.
 */
export async function pageIsKept(base: string): Promise<void> {
  const { serviceWorker } = navigator
  if (!serviceWorker) return new Promise(() => {})
  await serviceWorker.ready
  if (!serviceWorker.controller)
    await new Promise((resolve) => serviceWorker.addEventListener('controllerchange', resolve, { once: true }))
  const manifest = new URL('page/model.json', base)
  // The manifest is missing if the server failed during installation; fetching it through the
  // worker stores it.
  if (!(await caches.match(manifest))) await fetch(manifest, { cache: 'no-cache' }).catch(() => {})
}
