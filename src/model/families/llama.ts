/** Describes Llama (arXiv 2302.13971) and models of the same structure: SmolLM2, TinyLlama. */
import { keyRules } from '../key-rules.ts'
import type { Family } from './family.ts'
import { plainConfig, plainFolder, plainGguf, plainKeys, plainSpec, plainTensor } from './plain.ts'

export const llama: Family = {
  name: 'llama',
  // llama.cpp permutes wq and wk so that the elements of a pair are adjacent.
  gguf: plainGguf('llama', 'adjacent'),
  huggingFace: {
    ...plainFolder,
    name: 'llama',
    keys: keyRules(plainKeys),
    read: (json, where) => plainConfig('llama', json, where),
  },
  tensor: plainTensor,
  spec: plainSpec,
}
