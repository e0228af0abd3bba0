/** What the requests of a scheduler model are, and what their callbacks do. */
import type { SchedulerOptions } from '../../src/decode/scheduler.ts'
import type { Job } from '../../src/decode/task.ts'

export interface WorldOptions extends Pick<SchedulerOptions, 'order' | 'maxRunning' | 'maxWaiting' | 'stallMs'> {
  readonly pages: number
  readonly passTokens: number
  readonly prefixPages: number
}

export const hooks = ['onAdmit', 'onBegin', 'onPrefill', 'onCache', 'chooseTokens', 'checkToken', 'end'] as const
export type Hook = (typeof hooks)[number]

/**
 * An action of a request's code: from outside, in the middle of a pass, or from inside a callback.
 */
export type Deed =
  | { readonly kind: 'throw' }
  | { readonly kind: 'cancel'; readonly which: number }
  | { readonly kind: 'cancelSelf' }
  | { readonly kind: 'submit'; readonly length: number; readonly tenant: string }
  | { readonly kind: 'hold'; readonly pages: number }
  | { readonly kind: 'letGo' }
  | { readonly kind: 'evict'; readonly pages: number }
  | { readonly kind: 'insert'; readonly text: number; readonly pages: number; readonly tenant: string }
  | { readonly kind: 'drive' }
  | { readonly kind: 'close' }

/** An action at the `nth` call of a hook. */
export interface Script {
  readonly hook: Hook
  readonly nth: number
  readonly deed: Deed
}

export interface Wish {
  readonly ids: readonly number[]
  readonly tenant: string
  /** Number of tokens to answer; with 0 the first scores end it. */
  readonly most: number
  readonly mode: NonNullable<Job['mode']>
  /** Number of tokens that follow each third chosen one without being chosen, as those of a guide do. */
  readonly forces: number
  /** What it does with tokens that exact K and V would not have given: nothing, or it replaces them. */
  readonly checks: 'never' | 'reports' | 'corrects'
  /** Holds the computed pages until its end, as a sender of K and V does. */
  readonly sends: boolean
  readonly scripts: readonly Script[]
}
