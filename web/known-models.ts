/** The models that this browser has stored, and the last one chosen, as this origin's storage says. */
import { isSame, manifestOf } from './manifest.ts'
import type { Manifest } from './protocol.ts'

const lastKey = 'foretoken.model'
const listKey = 'foretoken.models'
/** Maximum number of models that are remembered. */
const most = 100

export interface Chosen {
  readonly manifest: Manifest
  /** Whether the page offered it: then it is the default only as long as the page does. */
  readonly offered: boolean
}

/**
 * Returns the model that was last chosen; undefined if there is none or the browser stores nothing
 * for the page.
 */
export function lastChosen(): Chosen | undefined {
  const value = read(lastKey) as { readonly offered?: unknown } | undefined
  const manifest = manifestOf(value)
  return manifest && { manifest, offered: value?.offered === true }
}

export function choose(chosen: Chosen | undefined): void {
  write(lastKey, chosen && { ...chosen.manifest, offered: chosen.offered })
}

/** Returns the models whose files were stored once; others may have been removed since. */
export function knownModels(): readonly Manifest[] {
  const value = read(listKey)
  return Array.isArray(value) ? value.map(manifestOf).filter((one) => one !== undefined) : []
}

/** Adds a model, or replaces what is known of it. */
export function know(manifest: Manifest): void {
  const others = knownModels().filter((one) => !isSame(one, manifest))
  write(listKey, [manifest, ...others].slice(0, most))
}

export function forgetModel(manifest: Manifest): void {
  write(
    listKey,
    knownModels().filter((one) => !isSame(one, manifest)),
  )
}

function read(key: string): unknown {
  try {
    return JSON.parse(localStorage.getItem(key) ?? 'null') ?? undefined
  } catch {
    return undefined
  }
}

function write(key: string, value: unknown): void {
  try {
    if (value === undefined) localStorage.removeItem(key)
    else localStorage.setItem(key, JSON.stringify(value))
  } catch {
    // Without storage the model is looked for again next time.
  }
}
