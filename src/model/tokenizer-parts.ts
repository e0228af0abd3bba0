/**
 * The parts of a tokenizer.json. If `mergeIds` is defined, `model` has no vocabulary and no merges.
 */
export interface Parts {
  readonly mergeIds: Uint32Array | undefined
  readonly model: object
  readonly normalizer: object | null
  readonly pre_tokenizer: object | null
  readonly decoder: object | null
}
