/** Tells which values of a configuration key change nothing. */
import { isObject } from './json.ts'

/** The model that a setting is compared with. */
export interface ModelShape {
  /** The family, for messages. */
  readonly architecture: string
  readonly headDim: number
  readonly hidden: number
  readonly heads: number
  readonly layers: number
}

/** Returns true if a value of the key changes nothing; null and absent never do. */
export type Neutral = (value: unknown, model: ModelShape) => boolean

/** Accepts the values of a list. */
export const is =
  (...values: readonly unknown[]): Neutral =>
  (value) =>
    values.includes(value)
/** Accepts a number that equals one of the model. */
export const isNear =
  (of: (model: ModelShape) => number): Neutral =>
  (value, model) =>
    typeof value === 'number' && Math.abs(value - of(model)) <= 1e-6 * of(model)
/** Accepts what turns a feature off. */
export const isOff = is(false, 0)
/** Accepts a factor of 1. */
export const isOne = is(1)
/** Accepts an empty list or object. */
export const isEmpty: Neutral = (value) =>
  (Array.isArray(value) ? value : isObject(value) ? Object.keys(value) : [0]).length === 0
/** Accepts the usual scale of attention. */
export const inverseRoot = isNear(({ headDim }) => 1 / Math.sqrt(headDim))
