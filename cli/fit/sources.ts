/** Fits one source of a predictor after the other, and tells how near its answers come. */
import type { Engine } from '../../node/index.ts'
import { type Agreement, agreement } from '../../src/evaluate/agreement.ts'
import type { Judged } from '../../src/evaluate/judge.ts'
import type { FitOptions, SourceFit } from '../../src/fit/fit.ts'
import type { LinearMap, PredictorFile } from '../../src/predict/file.ts'
import { type PredictorHeader, sourcesOf } from '../../src/predict/plan.ts'
import { type DocumentSets, documentIds } from './documents.ts'

export interface SourcesOptions extends FitOptions {
  /** Of the first source's documents; every source takes fresh ones. */
  readonly seed: number
  /** Longest document in tokens. */
  readonly most: number
  /** Called when a source is fitted, with all that is fitted then. */
  readonly onSource?: (source: number, file: PredictorFile) => Promise<void>
}

/** What is fitted already, and how many sources that are. */
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

/** What the engine's predictor makes of the first continuation, by what exact prefill does; `exact` if that is known. */
export async function agreementOn(engine: Engine, judged: Judged, exact?: Float32Array): Promise<Agreement> {
  const wanted = exact ?? (await engine.workbench.logitsAfter(judged)).logits[0]!
  const told = await engine.workbench.logitsAfter(judged, { prefill: 'predicted' })
  return agreement(wanted, told.logits[0]!, engine.archive.config.vocab)
}
