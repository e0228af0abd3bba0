/**
 * Requests that may be read elsewhere: here, by a companion whose K and V come here, by a companion that answers whole, or both at
 * once. Whatever fails, the answer goes on here behind the tokens that were shown: none is lost, none comes twice.
 */

import { ForetokenError } from '../base/errors.ts'
import { Lifetime } from '../base/lifetime.ts'
import type { PreparedPrompt, PromptInput } from '../base/prompt.ts'
import { Trace } from '../base/trace.ts'
import type { SchedulerStats } from '../decode/scheduler.ts'
import type { Engine } from '../engine/engine.ts'
import { checkedRequest, type GenerateRequest } from '../engine/options.ts'
import { checkPrompt } from '../tokens/checked-prompt.ts'
import { isPrepared } from '../tokens/prompt.ts'
import type { PrepareOptions } from '../tokens/prompts.ts'
import { after } from '../transfer/patience.ts'
import type { RemoteCompanion } from '../transfer/remote.ts'
import { Route } from './answer.ts'
import type { Companion } from './companions.ts'
import type { Way } from './costs.ts'
import type { AnswerOptions, Deciding, RoutedAnswer, TokenRequest } from './request.ts'
import { Router } from './router.ts'

export interface RoutedOptions extends AnswerOptions {
  /** The way of all requests that may take it. Default: the quickest by measured cost. */
  readonly always?: Way
  readonly router?: Deciding
}

/** What is learned of companions is asked for again after so long. */
const statusMs = 5000

export class Routed {
  readonly router: Deciding
  readonly #engine: Engine
  readonly #options: RoutedOptions
  #asked = Number.NEGATIVE_INFINITY

  constructor(engine: Engine, options: RoutedOptions) {
    this.#engine = engine
    this.#options = options
    this.router = options.router ?? new Router(options.companions, { always: options.always })
  }

  /**
   * Takes a request on. Throws what `Engine.submit` throws of its prompt; reading it, what that throws else. Read the answer, cancel it or abort the
   * request's signal: until then it holds cached pages and its companion.
   */
  submit(asked: GenerateRequest): RoutedAnswer {
    const given = checkedRequest(asked)
    checkPrompt(given.prompt)
    const trace = new Trace(isPrepared(given.prompt) ? given.prompt.times : undefined)
    const onTemplate = () => trace.mark('templated')
    const ids = this.#engine.promptIds(given.prompt, { ...given, onTemplate })
    trace.mark('tokenized')
    // An answer that may move must draw the same numbers wherever it is made.
    const seed = given.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]!
    const request: TokenRequest = { ...given, prompt: ids, raw: true, seed }
    // Asked behind an answer, not beside it: a core that is busy with a pass would take its own work for the network's.
    const onEnd = () => {
      if (performance.now() - this.#asked > statusMs) void this.refresh()
    }
    if (this.#asked === Number.NEGATIVE_INFINITY) void this.refresh()
    return new Route(this.#engine, this.#options, this.router, request, trace, onEnd)
  }

  /** As `Engine.prepare`. */
  prepare(prompt: PromptInput, options: PrepareOptions = {}): Promise<PreparedPrompt> {
    return this.#engine.prepare(prompt, options)
  }

  /** Asks every companion how it is; one that does not answer is a failure of it. Never rejects. */
  async refresh(): Promise<void> {
    const { closing } = this.#engine
    if (closing.aborted) return
    this.#asked = performance.now()
    await Promise.all(this.#options.companions.list.map((companion) => this.#ask(companion, closing)))
  }

  async #ask(companion: Companion<RemoteCompanion>, closing: AbortSignal): Promise<void> {
    const { companions } = this.#options
    const now = () => performance.now()
    if (!companion.breaker.enter(now())) return
    const life = new Lifetime().follow(closing)
    life.hold(after(statusMs, () => void life.end()))
    try {
      const before = this.#engine.stats
      const status = await companion.client.status(life.signal)
      if (status.model !== this.#engine.identity)
        throw new ForetokenError('wrong_model', `${companion.name} runs another model`)
      const { rtt_ms: rttMs, prefill_ms_per_token: msPerToken, running, waiting, codecs } = status
      const sendsKv = codecs.length > 0
      const late = computed(before, this.#engine.stats)
      companion.costs.learnStatus({ rttMs, late, msPerToken, prompts: running / 2 + waiting, sendsKv }, now())
      companions.report(companion, 'succeeded', now())
    } catch {
      companions.report(companion, closing.aborted ? 'left' : 'failed', now())
    } finally {
      await life.end()
    }
  }
}

/** Whether an engine was at work between two looks at it. */
function computed(before: SchedulerStats, after: SchedulerStats): boolean {
  return before.running > 0 || after.running > 0 || before.passes !== after.passes
}
