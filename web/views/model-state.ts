/** The state of the model in this tab. */
import type { Progress, Ready } from '../engine.ts'
import type { Offered } from '../manifest.ts'
import type { Manifest } from '../protocol.ts'

export type ModelState =
  | { readonly kind: 'looking' }
  | { readonly kind: 'absent'; readonly offered: Offered }
  | {
      readonly kind: 'loading'
      readonly name: string
      readonly progress: Progress | undefined
      /** The model that is still in memory, and answers until the new one has been fetched. */
      readonly before: Ready | undefined
      /** Why the model before is loaded again. */
      readonly failed: string | undefined
    }
  /** `failed` says why another model was not loaded. */
  | { readonly kind: 'ready'; readonly ready: Ready; readonly failed: string | undefined }
  | { readonly kind: 'failed'; readonly message: string; readonly offered: Offered }

/** Returns the model in memory; undefined if there is none. */
export function inMemory(state: ModelState): Ready | undefined {
  if (state.kind === 'ready') return state.ready
  return state.kind === 'loading' ? state.before : undefined
}

/** A model that can be chosen. */
export interface MenuEntry {
  readonly manifest: Manifest
  /** Whether the page offers it; otherwise only this browser has it. */
  readonly offered: boolean
  /** Whether its files are stored in this browser. */
  readonly kept: boolean
}
