/**
 * Finds the chunks of a prompt whose K and V are kept, and their places (after EPIC, arXiv
 * 2410.15332). The first tokens of each are run in the prompt: alone they had attended to hardly
 * anything else, and others look at them where they are.
 */
import type { PromptChunk } from '../base/prompt.ts'
import type { ChunkStore } from '../kv/chunk-store.ts'
import type { Placement } from '../pack/placements.ts'

/** Number of first tokens of each chunk that are run in the prompt. */
export const chunkHead = 8

/** Fewer tokens are not worth their own place in a pass. */
const leastPlaced = 16

/** Returns whether a chunk is long enough that some of its tokens could be placed. */
export function isWorthKeeping({ ids }: Pick<PromptChunk, 'ids'>): boolean {
  return ids.length >= chunkHead + leastPlaced
}

/**
 * Returns the places of the kept chunks of a prompt, in order, behind the first `cached` tokens. The
 * last token is never placed, since its scores are read.
 */
export function placementsOf(
  store: ChunkStore,
  {
    tenant,
    ids,
    chunks,
  }: { readonly tenant: string; readonly ids: readonly number[]; readonly chunks: readonly PromptChunk[] },
  cached: number,
): Placement[] {
  return chunks.flatMap((chunk): Placement[] => {
    const { from, skip } = chunk
    const first = Math.max(from - skip + chunkHead, from, cached)
    const to = Math.min(chunk.to, ids.length - 1)
    if (to - first < leastPlaced) return []
    const kv = store.get(tenant, chunk.ids)
    return kv ? [{ from: first, to, kv, at: skip + first - from }] : []
  })
}
