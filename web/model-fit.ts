/** Estimates whether a model fits into the memory of a tab. */
import { bytesOf } from './manifest.ts'
import { mostBytes } from './partial.ts'
import type { Manifest } from './protocol.ts'

export interface Fit {
  /** `never` is beyond what a tab can address; `tight` is beyond what the device has, or nearly all of it. */
  readonly kind: 'fits' | 'tight' | 'never'
  /** Memory of the model and a conversation, in bytes. */
  readonly needed: number
  /** What the tab or the device has, in bytes. */
  readonly limit: number
}

/** Bytes of the tokenizer, of K and V, and of a pass. */
const besideWeights = 160e6
/** The part of a device's memory that a tab may take before others are in need. */
const share = 0.75

/**
 * `deviceGigabytes` is what the browser says of the device, rounded and capped; undefined if it says
 * nothing.
 */
export function fitOf(manifest: Manifest, deviceGigabytes = navigatorMemory()): Fit {
  const needed = manifest.memory ?? bytesOf(manifest) + besideWeights
  if (needed > mostBytes) return { kind: 'never', needed, limit: mostBytes }
  const limit = (deviceGigabytes ?? Number.POSITIVE_INFINITY) * 2 ** 30
  return { kind: needed > limit * share ? 'tight' : 'fits', needed, limit }
}

function navigatorMemory(): number | undefined {
  return (navigator as { readonly deviceMemory?: number }).deviceMemory
}
