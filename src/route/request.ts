/** Defines the options of routed requests and the reports of their answers. */
import { type Checks, flag, listWith, nameOf, needed, wholeFrom } from '../base/fields.ts'
import { type WireCodec, wireCodecs } from '../base/kv-codec.ts'
import type { PromptChunk } from '../base/prompt.ts'
import type { Seed } from '../decode/seed.ts'
import type { GenerateRequest } from '../engine/options.ts'
import { type Answer, allWays, type RouteReport, type Way } from '../engine/service.ts'
import type { RemoteCompanion } from '../transfer/remote.ts'
import { type Companions, companionsOf } from './companions.ts'
import type { Router } from './router.ts'

/**
 * An answer that reports its way. While it is open, it may hold cached pages of the prompt and a
 * request at a companion.
 */
export interface RoutedAnswer extends Answer {
  readonly route: RouteReport
}

/** Decides which way a request takes, and learns from the outcome. */
export type Deciding = Pick<Router<RemoteCompanion>, 'decide' | 'report'>

/** Says how answers may be made. */
export interface AnswerOptions {
  readonly companions: Companions<RemoteCompanion>
  /** How K and V are sent. Default: as the KV pages here store them, without loss. */
  readonly codec?: WireCodec
  /** Ways that requests may take in addition to `local`. Default: all. */
  readonly ways?: readonly Way[]
  /**
   * A relayed answer continues here as soon as its K and V have arrived. Default false, since the
   * companion decodes faster.
   */
  readonly handOver?: boolean
  /** A prompt with fewer tokens that are not cached is read here. Default 32. */
  readonly leastTokens?: number
}

/** The checks of `AnswerOptions`. */
export const answerChecks: Checks<AnswerOptions> = {
  companions: needed(companionsOf),
  codec: nameOf(wireCodecs),
  ways: listWith(nameOf(allWays)),
  handOver: flag,
  leastTokens: wholeFrom(0),
}

export type TokenRequest = Omit<GenerateRequest, 'chunks'> & {
  readonly prompt: readonly number[]
  readonly seed: Seed
  readonly marked: readonly PromptChunk[]
}
