/** The state of the model in this tab. */
import type { Progress, Ready } from '../engine.ts'
import type { Offered } from '../manifest.ts'

export type ModelState =
  | { readonly kind: 'looking' }
  | { readonly kind: 'absent'; readonly offered: Offered }
  | { readonly kind: 'loading'; readonly progress: Progress | undefined }
  | { readonly kind: 'ready'; readonly ready: Ready }
  | { readonly kind: 'failed'; readonly message: string; readonly offered: Offered }
