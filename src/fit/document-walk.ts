/** Runs documents through an engine as a predictor would, for sums over what its maps see. */

import type { Backend } from '../backend/backend.ts'
import { nextTurn } from '../base/next-turn.ts'
import type { PagedCache } from '../kv/paged.ts'
import type { Sequence } from '../kv/sequence.ts'
import { States } from '../kv/states.ts'
import type { LoadedModel } from '../model/forward.ts'
import { pack } from '../pack/pack.ts'
import type { PredictorHeader } from '../predict/header.ts'
import type { PredictingForward } from '../prefill/open.ts'
import type { Auxiliary } from '../prefill/separate.ts'
import type { DocumentSums } from './document-sums.ts'

/** The parts of an engine that fitting needs. */
export interface FitEngine {
  readonly model: LoadedModel
  readonly cache: PagedCache
  readonly backend: Backend
  /** The smaller model of a separate plan. */
  readonly auxiliary?: Auxiliary | undefined
}

/** The way of documents through an engine, up to source `index`, and the sums that they add to. */
interface Walk {
  readonly engine: FitEngine
  readonly forward: PredictingForward
  readonly header: PredictorHeader
  readonly index: number
  readonly sums: DocumentSums
}

/** Adds documents until `tokens` of them were added, or no document is left. */
export async function addDocuments(
  walk: Walk,
  documents: AsyncIterator<readonly number[]>,
  { tokens, signal }: { readonly tokens: number; readonly signal?: AbortSignal },
  onTokens: (tokens: number) => void,
): Promise<void> {
  const { cache } = walk.engine
  const { sinks } = walk.header.plan
  for (let added = 0; added < tokens; onTokens(added)) {
    const next = await documents.next()
    if (next.done) break
    const ids = next.value.slice(0, cache.context)
    if (ids.length <= sinks) continue
    await nextTurn(signal)
    const [predicted, exact] = [cache.open(ids.length), cache.open(ids.length)]
    try {
      await addDocument(walk, ids, predicted, exact)
    } finally {
      predicted.release()
      exact.release()
    }
    added += ids.length - sinks
  }
}

/**
 * Runs one document in passes: its tokens after the sinks as predicted ones up to the source, then
 * all of them exactly.
 */
async function addDocument(
  { engine: { model }, forward, header: { plan, hidden }, index, sums }: Walk,
  ids: readonly number[],
  predicted: Sequence,
  exact: Sequence,
): Promise<void> {
  predicted.predict(new States({ width: hidden, first: 0, until: ids.length, kept: false }))
  for (let from = 0; from < ids.length; from += model.passTokens) {
    const chunk = ids.slice(from, from + model.passTokens)
    const sinks = from === 0 ? Math.min(plan.sinks, chunk.length) : 0
    const runs = [
      { sequence: predicted, ids: chunk.slice(0, sinks), kind: 'exact', outputs: 'none' },
      { sequence: predicted, ids: chunk.slice(sinks), kind: 'predicted', outputs: 'none' },
    ] as const
    const rows = chunk.length - sinks
    const input = await forward.inputsAt(pack(runs.filter(({ ids }) => ids.length > 0)), index)
    sums.addInput(input, model.states, rows)
    if (sums.end === 0) continue
    const pass = pack([{ sequence: exact, ids: chunk, outputs: 'none' }])
    await model.exclusive(async () => {
      model.begin(pass)
      model.runWatched(pass, { from: 0, to: sums.end }, (layer, kv) => sums.addLayer(layer, input, kv, sinks, rows))
      sums.addBridge(input, model.states, sinks, rows)
    })
  }
}
