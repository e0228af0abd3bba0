/** Types of one pass of the forward. */

/**
 * States of the residual stream that a sequence keeps until its cache is exact, (tokens, hidden).
 */
export interface SequenceStates {
  /** Position of the first state kept. Positions before it are exact in the cache. */
  readonly first: number
  /** Position after the last state. */
  readonly end: number
  /** First position that is never predicted. */
  readonly until: number
  /** True if states are kept for refinement, false if they are only counted. */
  readonly kept: boolean
  /**
   * True if no states are kept: the K and V that are not exact were computed elsewhere, and refining
   * begins with the tokens. Passes never see such states.
   */
  readonly placed?: boolean
  /**
   * Appends the states of `count` positions from `end` on. Calls `values` only if states are kept.
   */
  append(count: number, values: () => Promise<Float32Array>): Promise<void>
  /** Returns the states of positions `from`..`to` - 1, (to - from, hidden). */
  slice(from: number, to: number): Float32Array
  /** Called once, when the sequence no longer needs its states. */
  onRelease?: () => void
  /**
   * By source of a prediction, the states of the last positions before a chunk, (taps, hidden), in
   * order.
   */
  readonly tails: Map<number, Float32Array>
}

/**
 * Consecutive tokens of one sequence in a pass. They attend to the sequence's past and to each
 * other.
 */
export interface Segment {
  /** First row of the segment on the flat token axis. */
  readonly start: number
  /** Number of tokens. */
  readonly length: number
  /** Tokens that its pages hold already; the positions of this pass begin here. */
  readonly past: number
  /**
   * Position of the first token for RoPE, if tokens before it were left out of the cache. Default
   * `past`.
   */
  readonly position?: number
  /** Whether it turns by the divisors of long sequences, see `Sequence.expect`. Default false. */
  readonly long?: boolean
  /** Ids of the pages that hold tokens 0..past+length-1, in order. */
  readonly pages: readonly number[]
  /** States of a sequence whose cache is not exact yet. */
  readonly states?: SequenceStates | undefined
}

/** K and V of consecutive tokens that were computed elsewhere, at other positions. */
export interface PlacedKv {
  /**
   * Returns K, before its norm and rotation, and V of tokens `from`..`to` - 1 in a layer, (to - from,
   * 2 kvHeads * headDim). Valid until the next call, of any chunk.
   */
  read(layer: number, from: number, to: number): Float32Array
}

/** Tokens that a pass does not run: their K and V are written before it begins. */
export interface Placed {
  /** Their place in a sequence. Its `start` has no meaning. */
  readonly segment: Segment
  readonly kv: PlacedKv
  /** Index in `kv` of the first token. */
  readonly from: number
}

/** Takes K and V, before the norm and the rotation of K, as a pass computes them. */
export interface KvReader {
  /**
   * Takes those of the tokens from `position` on in a layer, (tokens, 2 kvHeads * headDim). Called
   * while the pass runs, which waits for nothing.
   */
  take(layer: number, position: number, values: Promise<Float32Array>): void
}

/** One pass: tokens of one or many sequences on one flat axis. */
export interface Pass {
  /** Token ids, (tokens). */
  readonly ids: readonly number[]
  /**
   * Segments that cover the axis, in order: predicted ones first, then exact ones, then refined
   * ones.
   */
  readonly segments: readonly Segment[]
  /**
   * Number of segments, at the front, that get predicted K and V above the shared layers. Default
   * 0.
   */
  readonly predicted?: number
  /**
   * Number of segments, at the end, that begin with kept states instead of tokens and replace
   * predictions. Default 0.
   */
  readonly refined?: number
  /** Rows whose logits are computed: usually the last row of each segment that ends its prompt. */
  readonly outputs: readonly number[]
  /** Rows whose final states, after the model's last norm, are read. Absent if none are. */
  readonly states?: readonly number[]
  /** K and V that are written before the pass begins. Absent if none are. */
  readonly placed?: readonly Placed[]
  /** Exact segments whose K and V are read, and by whom. Absent if none are. */
  readonly watched?: ReadonlyMap<Segment, KvReader>
}
