/**
 * Fits a predictor's maps in closed form. Documents run through the engine twice, once as predicted
 * tokens up to a source and once exactly, and only the second moments between the two are kept.
 *
 * Sources are fitted in order, since a run's states depend on the bridge before it. Every source
 * uses fresh documents.
 */

import { at } from '../base/at.ts'
import { Callback } from '../base/callback.ts'
import type { LinearMap, PredictorFile } from '../predict/file.ts'
import { inputsOf, type PredictorHeader, stateWidth } from '../predict/header.ts'
import { loadBridges } from '../predict/load.ts'
import { sourcesOf } from '../predict/plan.ts'
import { predicting } from '../prefill/open.ts'
import type { DocumentSums } from './document-sums.ts'
import { addDocuments, type FitEngine } from './document-walk.ts'
import { SourceSums } from './source-sums.ts'
import { Spread } from './spread.ts'

export interface FitOptions {
  /** Number of tokens that each source is fitted from. */
  readonly tokens: number
  /** Ridge, as a share of the inputs' mean variance. */
  readonly lambda: number
  readonly signal?: AbortSignal
  /** Called after every document, with the current source and its tokens so far. */
  readonly onProgress?: (progress: FitProgress) => void
}

export interface FitProgress {
  readonly source: number
  readonly sources: number
  readonly tokens: number
  readonly of: number
}

/** The fitted maps of a source by name, and the factors on their inputs. */
export interface SourceFit {
  readonly maps: ReadonlyMap<string, LinearMap>
  readonly gain: Float32Array
}

/**
 * Maximum number of tokens for measuring the spread of the inputs before anything is fitted. At
 * most an eighth of the tokens is used.
 */
const spreadTokens = 4096

/**
 * Fits the maps of source `index`; `fitted` holds those of the sources before it. `documents` are
 * token ids, and each is cut to what the cache holds. Throws `bad_argument` for data that cannot be
 * fitted, and `aborted`.
 */
export async function fitSource(
  engine: FitEngine,
  header: PredictorHeader,
  fitted: Pick<PredictorFile, 'maps' | 'gains'>,
  index: number,
  documents: AsyncIterator<readonly number[]>,
  options: FitOptions,
): Promise<SourceFit> {
  const onProgress = new Callback('onProgress', options.onProgress)
  const { backend, model } = engine
  const sources = sourcesOf(header.plan, header.layers)
  const { maps: mapped, bridged } = at(sources, index)
  // Nothing reads the exact state where the first run begins.
  if (mapped.length === 0 && !bridged) return { maps: new Map(), gain: new Float32Array(stateWidth(header)).fill(1) }
  model.widen(inputsOf(header))
  const addUp = async (
    gains: readonly Float32Array[],
    sums: DocumentSums,
    tokens: number,
    onTokens: (tokens: number) => void,
  ) => {
    const forward = predicting(engine, loadBridges(backend, { header, maps: fitted.maps, gains }))
    const walk = { engine, forward, header, index, sums }
    await addDocuments(walk, documents, { ...options, tokens }, onTokens)
  }
  const before = fitted.gains.slice(0, index)
  const spread = new Spread(backend, stateWidth(header))
  await addUp(before, spread, Math.min(spreadTokens, options.tokens / 8), () => {})
  const gain = await spread.gain()
  const sums = new SourceSums(backend, at(sources, index), header)
  await addUp([...before, gain], sums, options.tokens, (tokens) =>
    onProgress.call({ source: index, sources: sources.length, tokens, of: options.tokens }),
  )
  const maps = await sums.solve(options.lambda)
  await onProgress.settle()
  return { maps, gain }
}
