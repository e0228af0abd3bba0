/** One pass of the forward: tokens of one or many sequences on one flat axis. */

/** States of the residual stream that a sequence keeps until its cache is exact: (tokens, hidden), by position. */
export interface SequenceStates {
  /** Position of the first state kept; those before are exact in the cache. */
  readonly first: number
  /** Position behind the last. */
  readonly end: number
  /** No position from here on is predicted. */
  readonly until: number
  /** Whether states are kept, to be refined, or only counted. */
  readonly kept: boolean
  /** Appends states of `count` positions from `end` on; `values` are asked for if they are kept. */
  append(count: number, values: () => Promise<Float32Array>): Promise<void>
  /** States of positions `from`..`to` - 1. */
  slice(from: number, to: number): Float32Array
  /** Called once, when the sequence no longer needs its states. */
  onRelease?: () => void
  /** What the positions before a chunk left for it at each later source of a prediction: (taps, hidden), the last last. */
  readonly tails: Map<number, Float32Array>
}

/** One sequence's run of tokens in a pass, attending to its own past and to itself. */
export interface Segment {
  /** First row of this segment on the flat token axis. */
  readonly start: number
  /** Tokens of this segment in this pass. */
  readonly length: number
  /** Tokens already in its pages; positions of this pass begin here. */
  readonly past: number
  /** Position of the first token for RoPE, where tokens before it were left out of the cache. Default `past`. */
  readonly position?: number
  /** Page ids that hold tokens 0..past+length-1, in order. */
  readonly pages: readonly number[]
  /** Of a sequence whose cache is not exact yet. */
  readonly states?: SequenceStates | undefined
}

/** One pass: tokens of one or many sequences on one flat axis. */
export interface Pass {
  /** (tokens) */
  readonly ids: readonly number[]
  /** In order; together they cover the axis. First those that are predicted, then exact ones, then those that are refined. */
  readonly segments: readonly Segment[]
  /** How many segments, in front, get predicted K and V above the shared layers. Default 0. */
  readonly predicted?: number
  /** How many segments, at the end, begin with kept states instead of tokens, and replace what was predicted. Default 0. */
  readonly refined?: number
  /** Rows whose logits are wanted: usually the last row of each segment that ends its prompt. */
  readonly outputs: readonly number[]
}
