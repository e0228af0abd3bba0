/**
 * Describes Ministral: a mistral in which `layer_types` says which layers see a window. GGUF files
 * call it `llama`.
 */
import type { Family } from './family.ts'
import { mistralCalled } from './mistral.ts'

export const ministral: Family = mistralCalled('ministral')
