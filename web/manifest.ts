/** What a page offers to load, and what a visitor loaded last; both are checked as what comes from outside. */
import type { Manifest, OfferedFile } from './protocol.ts'

/** The model that comes with the page; undefined where it comes with none. */
export async function offeredManifest(base: string): Promise<Manifest | undefined> {
  try {
    const response = await fetch(new URL('page/model.json', base))
    return response.ok ? manifestOf(await response.json()) : undefined
  } catch {
    return undefined
  }
}

/** Undefined for what is none. */
export function manifestOf(value: unknown): Manifest | undefined {
  const { name, files, predictor } = (value ?? {}) as Record<string, unknown>
  if (typeof name !== 'string' || !Array.isArray(files) || files.length === 0 || !files.every(isFile)) return undefined
  if (predictor === undefined) return { name, files }
  return isFile(predictor) ? { name, files, predictor } : undefined
}

function isFile(value: unknown): value is OfferedFile {
  const { name, url, bytes, sha256 } = (value ?? {}) as Record<string, unknown>
  return (
    typeof name === 'string' &&
    typeof url === 'string' &&
    Number.isSafeInteger(bytes) &&
    (bytes as number) > 0 &&
    typeof sha256 === 'string' &&
    /^[0-9a-f]{64}$/.test(sha256)
  )
}

const key = 'foretoken.model'

/** The model that was fetched from an address last. A browser may keep nothing for a page: then there is none. */
export function remembered(): Manifest | undefined {
  try {
    return manifestOf(JSON.parse(localStorage.getItem(key) ?? 'null'))
  } catch {
    return undefined
  }
}

export function remember(manifest: Manifest | undefined): void {
  try {
    if (manifest) localStorage.setItem(key, JSON.stringify(manifest))
    else localStorage.removeItem(key)
  } catch {
    // It is fetched again next time.
  }
}
