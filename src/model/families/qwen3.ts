/** Describes Qwen 3 (arXiv 2505.09388): a llama with an RMS norm on each head of q and k. */

import { keyRules } from '../key-rules.ts'
import { is } from '../neutral.ts'
import type { Family } from './family.ts'
import { plainConfig, plainFolder, plainGguf, plainKeys, plainSpec, plainTensor } from './plain.ts'

export const qwen3: Family = {
  name: 'qwen3',
  gguf: plainGguf('qwen3', 'half'),
  huggingFace: {
    ...plainFolder,
    name: 'qwen3',
    keys: keyRules(plainKeys, [], { use_qk_norm: is(true), qk_norm: is(true), qk_layernorm: is(true) }),
    read: (json, where) => plainConfig('qwen3', json, where),
  },
  tensor: plainTensor,
  spec: (config) => plainSpec(config, { qkNorms: 'heads' }),
}
