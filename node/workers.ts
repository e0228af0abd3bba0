/** The scripts of workers: their sources, or their built forms beside the bundle. */
const source = import.meta.url.endsWith('.ts')

export const computeWorker = new URL(source ? '../workers/compute.ts' : './worker.js', import.meta.url)
export const textWorker = new URL(source ? '../workers/text.ts' : './text-worker.js', import.meta.url)
export const guideWorker = new URL(source ? '../workers/guide.ts' : './guide-worker.js', import.meta.url)
