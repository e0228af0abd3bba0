/** The forward of a model with a predictor, whichever kind it is. */
import type { Backend, Tensor } from '../backend/backend.ts'
import { ForetokenError } from '../errors.ts'
import type { Llama } from '../model/llama.ts'
import type { Predictor } from '../model/predictor.ts'
import type { Pass } from '../types.ts'
import { PredictedForward } from './predicted.ts'
import { type Auxiliary, SeparateForward } from './separate.ts'

export interface PredictingForward extends Pick<Llama, 'passTokens' | 'config' | 'forward'> {
  readonly predictor: Predictor
  /** Runs a pass up to a source, and gives the inputs of its predicted rows there; for who fits the maps. */
  inputsAt(pass: Pass, source: number): Promise<Tensor>
}

/** Throws `bad_argument` for a predictor that needs an auxiliary model where there is none. */
export function predicting(
  { model, backend, auxiliary }: { model: Llama; backend: Backend; auxiliary?: Auxiliary | undefined },
  predictor: Predictor,
): PredictingForward {
  const { plan, aux, base_name } = predictor.header
  if (plan.kind === 'shared') return new PredictedForward(model, backend, predictor, plan)
  if (auxiliary) return new SeparateForward(model, auxiliary, backend, predictor)
  throw new ForetokenError(
    'bad_argument',
    `the predictor for ${base_name} reads the states of another model, ${aux?.name}; give that one as the auxiliary model`,
  )
}
