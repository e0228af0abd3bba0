/** How a model is loaded for passes. */
import type { KvType } from '../base/kv.ts'
import type { ModelSpec } from '../base/model.ts'
import type { LoadOptions } from './load.ts'

export interface ModelOptions extends LoadOptions {
  /** Tokens a pass may have. */
  readonly passTokens: number
  /**
   * Entries of all page lists of a pass together that room is made for at once. Default: two for
   * each token.
   */
  readonly pageEntries?: number
  /** Rows of logits made at once; more outputs go in several products. */
  readonly logitRows: number
  readonly kv: KvType
  /** Pages of K and V that memory is made ready for at once. Default 0. */
  readonly firstPages?: number
  /**
   * Inner dimension of the largest product beside the model's own: a predictor's. 0 or absent
   * without one.
   */
  readonly inputs?: number
  /** The recipe to run. Default: that of the model's family. */
  readonly spec?: ModelSpec
}
