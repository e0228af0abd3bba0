/**
 * Fits the sources of a predictor one after another, and measures its agreement with exact prefill.
 */
import type { Engine } from '../../node/index.ts'
import { type Agreement, agreement } from '../../src/evaluate/agreement.ts'
import type { Judged } from '../../src/evaluate/judge.ts'
import type { FitOptions, SourceFit } from '../../src/fit/fit.ts'
import type { LinearMap, PredictorFile } from '../../src/predict/file.ts'
import type { PredictorHeader } from '../../src/predict/header.ts'
import { sourcesOf } from '../../src/predict/plan.ts'
import { type DocumentSets, documentIds } from './documents.ts'

export interface SourcesOptions extends FitOptions {
  /** Seed of the first source's documents; each source uses new ones. */
  readonly seed: number
  /** Maximum length of a document, in tokens. */
  readonly most: number
  /** Called after each source, with everything that is fitted so far. */
  readonly onSource?: (source: number, file: PredictorFile) => Promise<void>
}

/** The maps and gains that are already fitted, and the number of their sources. */
export interface Begun {
  readonly maps: Map<string, LinearMap>
  readonly gains: Float32Array[]
  readonly done: number
}

export async function fitSources(
  engine: Engine,
  header: PredictorHeader,
  training: DocumentSets['training'],
  { seed, most, onSource, ...options }: SourcesOptions,
  { maps, gains, done }: Begun = { maps: new Map(), gains: [], done: 0 },
): Promise<PredictorFile> {
  const file = { header, maps, gains }
  for (let source = done; source < sourcesOf(header.plan, header.layers).length; source++) {
    const documents = documentIds(engine, training, { seed: seed + source, most })
    const fitted: SourceFit = await engine.workbench.fitSource(header, file, source, documents, options)
    for (const [name, map] of fitted.maps) maps.set(name, map)
    gains[source] = fitted.gain
    await onSource?.(source, file)
  }
  return file
}

/**
 * Compares the predictor's logits for the first continuation with those of exact prefill, which
 * `exact` supplies if they are known.
 */
export async function agreementOn(engine: Engine, judged: Judged, exact?: Float32Array): Promise<Agreement> {
  const wanted = exact ?? (await engine.workbench.logitsAfter(judged)).logits[0]!
  const predicted = await engine.workbench.logitsAfter(judged, { prefill: 'predicted' })
  return agreement(wanted, predicted.logits[0]!, engine.archive.config.vocab)
}
