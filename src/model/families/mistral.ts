/**
 * Describes Mistral (arXiv 2310.06825): a llama whose layers see the last `sliding_window` tokens.
 * GGUF files call it `llama` and store the window in `llama.attention.sliding_window`, which the
 * reader of that family honours.
 */
import type { Json } from '../json.ts'
import { keyRules } from '../key-rules.ts'
import { slidingLayers, windowsWhere } from '../window.ts'
import type { Family } from './family.ts'
import { plainConfig, plainFolder, plainKeys, plainSpec, plainTensor } from './plain.ts'

/** Defaults of transformers for absent keys. A null is not absent: it disables the window. */
const defaults = { num_key_value_heads: 8, max_position_embeddings: 131_072, sliding_window: 4096 }

export const mistral: Family = mistralCalled('mistral')

/** Returns the family under one of its names. */
export function mistralCalled(name: string): Family {
  return {
    name,
    huggingFace: {
      ...plainFolder,
      name,
      keys: keyRules(plainKeys),
      read: (json, where) => plainConfig(name, { ...defaults, ...json }, where),
      windows(json, layers, where) {
        const config: Json = { ...defaults, ...json }
        if (config.sliding_window === null) return undefined
        const slides = slidingLayers(config, layers, where) ?? new Array<boolean>(layers).fill(true)
        return windowsWhere(slides, config, where)
      },
    },
    tensor: plainTensor,
    spec: plainSpec,
  }
}
