/**
 * Describes OLMo 2 (arXiv 2501.00656): a llama with norms behind both halves of a layer in place of
 * those before, and norms of q and k over all heads at once.
 */
import { keyRules } from '../key-rules.ts'
import type { Family } from './family.ts'
import { plainConfig, plainFolder, plainGguf, plainKeys, plainSpec, plainTensor } from './plain.ts'

export const olmo2: Family = {
  name: 'olmo2',
  gguf: plainGguf('olmo2', 'half'),
  huggingFace: {
    ...plainFolder,
    name: 'olmo2',
    keys: keyRules(plainKeys),
    read: (json, where) => plainConfig('olmo2', { rms_norm_eps: 1e-5, ...json }, where),
  },
  tensor: plainTensor,
  spec: (config) =>
    plainSpec(config, {
      norms: { beforeAttention: false, afterAttention: true, beforeMlp: false, afterMlp: true },
      qkNorms: 'rows',
    }),
}
