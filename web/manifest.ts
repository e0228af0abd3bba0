/** What a page offers to load, and what a visitor loaded last; both are checked as what comes from outside. */
import type { Manifest, OfferedFile } from './protocol.ts'

/** Whether a model comes with the page. */
export type Offered =
  | { readonly kind: 'offered'; readonly manifest: Manifest }
  | { readonly kind: 'none' }
  /** `why` is for who looks at the page. */
  | { readonly kind: 'unknown'; readonly why: string }

const path = 'page/model.json'
const patienceMs = 20_000

/** Only a 404 says that no model comes: whatever else is no manifest is a failure, and may pass. */
export async function offeredManifest(base: string): Promise<Offered> {
  const patience = new AbortController()
  const timer = setTimeout(() => patience.abort(), patienceMs)
  try {
    const response = await fetch(new URL(path, base), { cache: 'no-cache', signal: patience.signal })
    if (response.status === 404) return { kind: 'none' }
    if (!response.ok) return unknown(`the server answers ${response.status} for ${path}`)
    const text = await response.text()
    const manifest = manifestOf(jsonOf(text))
    if (manifest) return { kind: 'offered', manifest }
    const type = response.headers.get('content-type') ?? 'no content type'
    return unknown(
      jsonOf(text) === undefined
        ? `the server answers ${path} with ${type}, which is not JSON`
        : `${path} lacks a name, or files with name, url, bytes and SHA-256`,
    )
  } catch (error) {
    const what = patience.signal.aborted
      ? `did not come within ${patienceMs / 1000} s`
      : `can't be reached (${(error as Error).message})`
    return unknown(`${path} ${what}; check the network`)
  } finally {
    clearTimeout(timer)
  }
}

function unknown(why: string): Offered {
  return { kind: 'unknown', why }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
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
