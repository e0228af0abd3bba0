/** Runs the forward of a model with a predictor of any kind. */
import type { Backend, Scores, Tensor } from '../backend/backend.ts'
import { ForetokenError } from '../base/errors.ts'
import type { Pass } from '../base/pass.ts'
import type { LoadedModel } from '../model/forward.ts'
import type { Predictor } from '../predict/load.ts'
import { SharedWalk } from './predicted.ts'
import { type Auxiliary, SeparateWalk } from './separate.ts'

/**
 * How one kind of predictor runs through the layers. No other code uses the activations meanwhile.
 */
interface Walk {
  /** Runs a pass through all layers. */
  run(pass: Pass): Promise<void>
  /** Runs a pass up to a source and returns the inputs of the predicted rows there. */
  inputsAt(pass: Pass, source: number): Promise<Tensor>
}

export class PredictingForward {
  readonly predictor: Predictor
  readonly #model: LoadedModel
  readonly #walk: Walk

  constructor(model: LoadedModel, predictor: Predictor, walk: Walk) {
    this.#model = model
    this.predictor = predictor
    this.#walk = walk
  }

  get passTokens(): number {
    return this.#model.passTokens
  }

  get config(): LoadedModel['config'] {
    return this.#model.config
  }

  /**
   * Runs a pass and returns the logits of its `outputs`, (outputs, vocab); lent or copied as in the
   * model's `forward`.
   */
  forward(pass: Pass, lent: 'lent' | 'own' = 'own'): Promise<Float32Array> {
    return this.through(pass, () => this.#model.logits(pass.outputs, lent))
  }

  /** Runs a pass and returns the scores of its `outputs`, as the model's `scores` does. */
  scores(pass: Pass, bests: readonly number[]): Promise<Scores[]> {
    return this.through(pass, () => this.#model.scoresOf(pass.outputs, bests))
  }

  /** Returns what the model's method of this name returns, within `through`. */
  scoresOf(picked: readonly number[], bests: readonly number[]): Promise<Scores[]> {
    return this.#model.scoresOf(picked, bests)
  }

  /** Returns what the model's method of this name returns, within `through`. */
  finalStates(picked: readonly number[]): Promise<Float32Array> {
    return this.#model.finalStates(picked)
  }

  /**
   * Runs a pass up to a source and returns the inputs of its predicted rows there, for fitting the
   * maps.
   */
  inputsAt(pass: Pass, source: number): Promise<Tensor> {
    return this.#model.exclusive(() => this.#walk.inputsAt(pass, source))
  }

  /**
   * Runs a pass through all layers, with the walk if some rows are predicted, and then `score`,
   * before any other code uses the activations.
   */
  through<T>(pass: Pass, score: () => Promise<T>): Promise<T> {
    if (!pass.segments.some(({ states }) => states)) return this.#model.through(pass, score)
    return this.#model.exclusive(async () => {
      await this.#walk.run(pass)
      return score()
    })
  }
}

/** Throws `bad_argument` if a predictor needs an auxiliary model and none was given. */
export function predicting(
  { model, backend, auxiliary }: { model: LoadedModel; backend: Backend; auxiliary?: Auxiliary | undefined },
  predictor: Predictor,
): PredictingForward {
  const { plan, aux, base_name } = predictor.header
  if (plan.kind === 'shared')
    return new PredictingForward(model, predictor, new SharedWalk(model, backend, predictor, plan))
  if (auxiliary) return new PredictingForward(model, predictor, new SeparateWalk(model, auxiliary, backend, predictor))
  throw new ForetokenError(
    'bad_argument',
    `the predictor for ${base_name} reads the states of another model, ${aux?.name}; give that one as the auxiliary model`,
  )
}
