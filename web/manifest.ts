/** The models that a page offers: its manifest comes from outside, and is checked. */
import { isWhole } from '../src/base/numbers.ts'
import type { Manifest, OfferedFile } from './protocol.ts'

/** Whether the page offers models. */
export type Offered =
  /** At least one; the first is the default. */
  | { readonly kind: 'offered'; readonly models: readonly Manifest[] }
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
    const models = manifestsOf(jsonOf(text))
    if (models) return { kind: 'offered', models: models.map((one) => at(one, response.url)) }
    const type = response.headers.get('content-type') ?? 'no content type'
    return unknown(
      jsonOf(text) === undefined
        ? `the server answers ${path} with ${type}, which is not JSON`
        : `${path} lacks a name, or files with name, url, bytes and SHA-256, or lists models without them`,
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

/** Maximum number of models in a manifest. */
const mostModels = 100

/** Returns the models in a JSON value: one, or a list `models`; undefined if any is invalid. */
export function manifestsOf(value: unknown): readonly Manifest[] | undefined {
  const { models } = (value ?? {}) as Record<string, unknown>
  const listed = models === undefined ? [value] : models
  if (!Array.isArray(listed) || listed.length === 0 || listed.length > mostModels) return undefined
  const found = listed.map(manifestOf)
  return found.every((one) => one !== undefined) ? found : undefined
}

/** Returns the model in a JSON value; undefined if it is invalid. */
export function manifestOf(value: unknown): Manifest | undefined {
  const { name, files, predictor, licence, terms, memory } = (value ?? {}) as Record<string, unknown>
  if (typeof name !== 'string' || !Array.isArray(files) || files.length === 0 || !files.every(isFile)) return undefined
  if (predictor !== undefined && !isFile(predictor)) return undefined
  return {
    name,
    files,
    ...(predictor && { predictor }),
    ...(typeof licence === 'string' && { licence: licence.slice(0, 100) }),
    // Shown as a link, so it must not be a script.
    ...(typeof terms === 'string' && /^https?:/.test(terms) && { terms }),
    ...(isWhole(memory, 1) && { memory }),
  }
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

/** Returns a model whose files have whole addresses. */
function at(manifest: Manifest, base: string): Manifest {
  const whole = (file: OfferedFile) => ({ ...file, url: new URL(file.url, base).href })
  const { files, predictor } = manifest
  return { ...manifest, files: files.map(whole), ...(predictor && { predictor: whole(predictor) }) }
}

/** Returns all files of a model, including its predictor. */
export function filesOf({ files, predictor }: Manifest): readonly OfferedFile[] {
  return predictor ? [...files, predictor] : files
}

/** Returns the size of a model's files, in bytes. */
export function bytesOf(manifest: Manifest): number {
  return filesOf(manifest).reduce((sum, { bytes }) => sum + bytes, 0)
}

export function isSame(one: Manifest, other: Manifest): boolean {
  return keyOf(one) === keyOf(other)
}

/** Identifies a model by its bytes. */
export function keyOf(manifest: Manifest): string {
  return filesOf(manifest)
    .map(({ sha256 }) => sha256)
    .join()
}
