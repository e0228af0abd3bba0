/** The service worker that shows the page without a network, seen from the page. */

/** Where it is refused the page works all the same. */
export function registerWorker(base: string): void {
  navigator.serviceWorker?.register(new URL('sw.js', base), { updateViaCache: 'none' }).catch(() => {})
}

/** Resolves once the next visit finds the page here, and what the model is, if one is offered; never, where that can't be. */
export async function pageIsKept(base: string): Promise<void> {
  const { serviceWorker } = navigator
  if (!serviceWorker) return new Promise(() => {})
  await serviceWorker.ready
  if (!serviceWorker.controller)
    await new Promise((resolve) => serviceWorker.addEventListener('controllerchange', resolve, { once: true }))
  const manifest = new URL('page/model.json', base)
  // Not there if the server failed while the worker was installed: it keeps what goes through it.
  if (!(await caches.match(manifest))) await fetch(manifest, { cache: 'no-cache' }).catch(() => {})
}
