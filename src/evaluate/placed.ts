/**
 * Judges a prompt whose chunks were computed alone and placed: what `refined` and `predicted` begin
 * with when all marked chunks are known.
 */
import { ChunkStore } from '../kv/chunk-store.ts'
import type { PagedCache } from '../kv/paged.ts'
import type { Sequence } from '../kv/sequence.ts'
import type { LoadedModel } from '../model/forward.ts'
import { pack } from '../pack/pack.ts'
import { type Placement, placedChunks, positionAfter } from '../pack/placements.ts'
import { continued, type Judged, type Judgement } from './judge.ts'

/** The chunks of a prompt, and how they are placed. */
export interface Placing {
  /** Tokens `from`..`to` - 1 of the prompt, in order. */
  readonly chunks: readonly { readonly from: number; readonly to: number }[]
  /** The tokens that a chunk is computed behind. */
  readonly sinks: readonly number[]
  /** Number of first tokens of each chunk that are computed in the prompt. */
  readonly recomputed: number
  /** Holds chunks that were computed before, and those that are computed now. Default: a new one. */
  readonly store?: ChunkStore
}

interface PlacingEngine {
  readonly model: LoadedModel
  readonly cache: PagedCache
}

/**
 * Returns the logits after a prompt and along its continuations. `ms` leaves out the time in which
 * the chunks were computed alone.
 */
export async function logitsPlaced(
  engine: PlacingEngine,
  sequence: Sequence,
  { prompt, continuations }: Judged,
  { chunks, sinks, recomputed, store = new ChunkStore(Number.POSITIVE_INFINITY, engine.model.kvWidths) }: Placing,
): Promise<Judgement> {
  const { model } = engine
  model.requirePlaceable()
  const placements: Placement[] = []
  for (const { from, to } of chunks) {
    const ids = prompt.slice(from, to)
    if (to - from <= recomputed) continue
    const kv = store.get('', ids) ?? (await computed(engine, store, sinks, ids))
    // What cannot be kept is computed exactly.
    if (kv) placements.push({ from: from + recomputed, to, kv, at: recomputed })
  }
  const begun = performance.now()
  let first: Float32Array = new Float32Array(0)
  while (sequence.length < prompt.length) {
    const from = sequence.length
    const to = Math.min(prompt.length, positionAfter(placements, from, model.passTokens))
    const outputs = to === prompt.length ? 'last' : 'none'
    first = await model.forward(pack(placedChunks(sequence, prompt, placements, { from, to, outputs })))
  }
  const ms = performance.now() - begun
  const logits = await continued(sequence, first, continuations, (ids) =>
    model.forward(pack([{ sequence, ids, outputs: 'all' }])),
  )
  return { logits, ms }
}

async function computed(
  { model, cache }: PlacingEngine,
  store: ChunkStore,
  sinks: readonly number[],
  ids: readonly number[],
) {
  const reader = store.reader(sinks.length, ids.length)
  const all = [...sinks, ...ids]
  const alone = cache.open(all.length)
  try {
    for (let from = 0; from < all.length; from += model.passTokens) {
      const part = all.slice(from, from + model.passTokens)
      await model.forward(pack([{ sequence: alone, ids: part, outputs: 'none', reader }]))
    }
  } finally {
    alone.release()
  }
  await store.keep('', ids, reader)
  return store.get('', ids)
}
