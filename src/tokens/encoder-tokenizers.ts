/** All kinds of tokenizers that encoders have besides BPE. Loaded with the first encoder. */
import { bertTokenizers } from './bert.ts'
import type { MoreTokenizers } from './checked-steps.ts'
import { unigramTokenizers } from './unigram-spec.ts'

export const encoderTokenizers: MoreTokenizers = {
  types: 'BPE, WordPiece and Unigram are',
  model: (model) => bertTokenizers.model(model) ?? unigramTokenizers.model(model),
  normalizer: (value) => bertTokenizers.normalizer(value) ?? unigramTokenizers.normalizer(value),
  vocabulary: (model) => unigramTokenizers.vocabulary?.(model),
  encoder: (...given) => bertTokenizers.encoder(...given) ?? unigramTokenizers.encoder(...given),
  normalize: (json) => unigramTokenizers.normalize?.(json),
}
