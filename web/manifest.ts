/**
 * The manifest of the model that a page offers, and that of the last one loaded; both come from
 * outside and are checked.
 */
import { isWhole } from '../src/base/numbers.ts'
import type { Manifest, OfferedFile } from './protocol.ts'

/** Whether the page offers a model. */
export type Offered =
  | { readonly kind: 'offered'; readonly manifest: Manifest }
  | { readonly kind: 'none' }
  /** `why` is shown to the visitor. */
  | { readonly kind: 'unknown'; readonly why: string }

const path = 'page/model.json'
const patienceMs = 20_000

/**
 * Fetches the page's manifest. Only a 404 means that there is no model; any other response without
 * a manifest is a failure, which may be temporary.
 */
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
      ? `did not arrive within ${patienceMs / 1000} s`
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

/** Returns the manifest in a JSON value; undefined if it is invalid. */
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
    isWhole(bytes, 1) &&
    typeof sha256 === 'string' &&
    /^[0-9a-f]{64}$/.test(sha256)
  )
}

const key = 'foretoken.model'

/**
 * Returns the model that was last fetched from an address; undefined if there is none or the
 * browser stores nothing for the page.
 */
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
    // Without storage the model is fetched again next time.
  }
}
