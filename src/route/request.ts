/** What a routed request may ask for, and what its answer reports. */

import type { WireCodec } from '../base/kv.ts'
import type { Seed } from '../decode/seed.ts'
import type { GenerateRequest } from '../engine/options.ts'
import type { DoneEvent, GenerateEvent } from '../stream/events.ts'
import type { RemoteCompanion } from '../transfer/remote.ts'
import type { Companions } from './companions.ts'
import type { Way } from './costs.ts'
import type { Router } from './router.ts'

/** Which way a request took, and what was expected of it; milliseconds to the first token. */
export interface RouteReport {
  readonly way: Way
  readonly companion?: string
  readonly predicted_ms: number
  /** Without the time in which nobody waited for it. */
  readonly actual_ms?: number
  /** What each way should have taken. */
  readonly considered: Readonly<Partial<Record<Way, number>>>
  /** Why the companion's part was given up; the answer is whole nevertheless. */
  readonly fell_back?: string
}

/**
 * An answer's events, for one reader; as a `Submission` has them. It holds the prompt's cached pages and a companion's attention until it has been read, is
 * cancelled, or its request's signal aborts.
 */
export interface RoutedAnswer extends AsyncIterable<GenerateEvent> {
  readonly soFar: Pick<DoneEvent, 'cached_tokens' | 'prefill' | 'timings' | 'exact_from'>
  readonly route: RouteReport
  cancel(): void
}

/** What decides. */
export type Deciding = Pick<Router<RemoteCompanion>, 'decide' | 'report'>

/** How answers may be made. */
export interface AnswerOptions {
  readonly companions: Companions<RemoteCompanion>
  /** How K and V are sent. Default: as the pages here hold them, without loss. */
  readonly codec?: WireCodec
  /** Ways that requests may take beside `local`. Default: all. */
  readonly ways?: readonly Way[]
  /** A relayed answer goes on here as soon as its K and V have come. Default false: the companion decodes faster. */
  readonly handOver?: boolean
  /** Prompts with fewer tokens that are not cached are read here. Default 32. */
  readonly leastTokens?: number
}

export type TokenRequest = GenerateRequest & { readonly prompt: readonly number[]; readonly seed: Seed }
