/** Describes Qwen 2 (arXiv 2407.10671) and 2.5: a llama with biases on q, k and v. */

import { keyRules } from '../key-rules.ts'
import { is } from '../neutral.ts'
import type { Family } from './family.ts'
import { plainConfig, plainFolder, plainGguf, plainKeys, plainSpec, plainTensor } from './plain.ts'

export const qwen2: Family = {
  name: 'qwen2',
  gguf: plainGguf('qwen2', 'half'),
  huggingFace: {
    ...plainFolder,
    name: 'qwen2',
    // Qwen 2 always has these biases, whatever attention_bias says.
    keys: keyRules(plainKeys, ['attention_bias'], { qkv_bias: is(true) }),
    read: (json, where) => plainConfig('qwen2', json, where),
  },
  tensor: plainTensor,
  spec: (config) => plainSpec(config, { biases: { qkv: true, output: false } }),
}
