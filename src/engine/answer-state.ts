/** Holds the state of one answer, which takes tokens and makes events. */

import type { Backend, Scores } from '../backend/backend.ts'
import { Callback } from '../base/callback.ts'
import { idOf, idsOf } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import type { Guide } from '../base/guide.ts'
import type { ModelArchive } from '../base/model.ts'
import type { Trace } from '../base/trace.ts'
import type { GuideFor, GuideMatcher } from '../decode/guide.ts'
import { createSampler, type EarlyBan, type SampledToken, type Sampler } from '../decode/sampling.ts'
import { createStopMatcher, type StopMatcher } from '../decode/stop.ts'
import type { Job } from '../decode/task.ts'
import type { Prediction, PrefillMode } from '../predict/choice.ts'
import { createDetokenizer, type Detokenizer } from '../stream/detokenize.ts'
import type { GenerateEvent } from '../stream/events.ts'
import type { Tokenizer } from '../tokens/tokenizer.ts'
import type { GuideSource } from './guides.ts'
import type { GenerateRequest } from './options.ts'
import type { Answer } from './service.ts'

/** The parts of an engine that an answer reads and reports. */
export interface AnswerSource {
  readonly archive: ModelArchive
  readonly tokenizer: Tokenizer
  readonly backend: Pick<Backend, 'build' | 'memoryBytes'>
  /** Maximum number of tokens in a prompt and its answer together. */
  readonly context: number
  readonly loadMs: number
  readonly prediction: Pick<Prediction, 'share'> | undefined
  /** Makes matchers of guides; undefined if the engine has no grammars. */
  readonly guides?: GuideSource | undefined
}

/**
 * Makes events from tokens. The scheduler, an ONNX session, llama.cpp or a companion supplies the
 * tokens; text, stop strings, counts and times are computed here for all of them. `Submission`
 * reads the events.
 */
export class AnswerState implements Job {
  /** The prompt, and the tokens of its answer that were shown before the request. */
  readonly ids: readonly number[]
  readonly tenant: string
  readonly mode: PrefillMode
  readonly signal: AbortSignal
  /** Events that have not been read yet. */
  readonly events: GenerateEvent[]
  ended = false
  error: ForetokenError | undefined
  readonly #onPrefill: Callback<[done: number, total: number]>
  readonly #source: AnswerSource
  readonly #trace: Trace
  readonly #controller = new AbortController()
  readonly #sampler: Sampler
  /** The shape of the answer, which the sampler keeps; undefined without a guide. */
  readonly #matcher: GuideMatcher | undefined
  readonly #detokenizer: Detokenizer
  readonly #stops: StopMatcher
  readonly #eos: ReadonlySet<number>
  readonly #room: number
  readonly #limit: number
  /** Number of tokens in the prompt. */
  readonly #promptTokens: number
  /** Ids of the prompt and the answer. */
  readonly #history: number[]
  #text = ''
  #cached = 0
  /**
   * True until the first progress report after an admission, which gives the number of tokens found
   * in the prefix cache.
   */
  #entering = true
  #prefill: Answer['soFar']['prefill'] = 'exact'
  /** Index of the first answer token made from an exact cache; undefined while there is none. */
  #exactFrom: number | undefined = 0
  #share = 1
  /** Number of tokens that the guide forced. */
  #forced = 0

  /**
   * Throws `bad_argument` for ids outside the vocabulary and for options out of their range, and
   * `unsupported` for a prefill mode without a predictor, or a guide without grammars. `request`
   * was read by `checkedRequest`.
   */
  constructor(ids: readonly number[], request: GenerateRequest, source: AnswerSource, trace: Trace) {
    const { after = [] } = request
    const { vocab } = source.archive.config
    for (const id of ids) idOf('the prompt', id, vocab)
    this.ids = after.length > 0 ? [...ids, ...after] : ids
    this.#promptTokens = ids.length
    this.tenant = request.tenant ?? ''
    this.mode = modeOf(request.prefill ?? 'exact', source)
    this.signal = request.signal ? AbortSignal.any([request.signal, this.#controller.signal]) : this.#controller.signal
    this.events = [{ type: 'prompt', ids }]
    this.#onPrefill = new Callback('onPrefill', request.onPrefill, (failure) => this.#controller.abort(failure))
    this.#source = source
    this.#trace = trace
    this.#detokenizer = createDetokenizer(source.tokenizer, {
      show: request.showSpecial && new Set(request.showSpecial),
    })
    this.#stops = createStopMatcher(request.stop ?? [])
    this.#eos = endsOf(request, source.archive)
    this.#matcher = request.guide && matcherOf(request.guide, source, { tenant: this.tenant, signal: this.signal })
    this.#room = source.context - ids.length
    this.#limit = Math.min(request.maxTokens ?? this.#room, this.#room)
    this.#history = [...ids]
    try {
      this.#sampler = createSampler(request, {
        prompt: ids,
        ban: this.#banOf(request),
        guide: this.#matcher && { matcher: this.#matcher, vocab: source.archive.config.vocab },
      })
      this.#repeat(after)
    } catch (error) {
      // A matcher may hold an instance of the grammar engine.
      this.#matcher?.end()
      throw error
    }
  }

  /**
   * Resolves when the guide's grammar is compiled, before which no token may be chosen, and rejects
   * if it can't be; undefined if nothing is awaited.
   */
  get ready(): Promise<void> | undefined {
    return this.#matcher?.ready
  }

  cancel(): void {
    if (!this.ended) this.#controller.abort()
  }

  /** How the prompt has been read so far. */
  get soFar(): Answer['soFar'] {
    const timings = this.#trace.timings(this.#source.loadMs, this.#promptTokens, this.#history.length - this.ids.length)
    return {
      cached_tokens: this.#cached,
      prefill: this.#prefill,
      timings: this.#matcher ? { ...timings, forced_tokens: this.#forced } : timings,
      ...(this.#exactFrom !== undefined && { exact_from: this.#exactFrom }),
    }
  }

  onAdmit(at?: number): void {
    this.#trace.mark('admitted', at)
    this.#entering = true
  }

  onPrefill(done: number, total: number, at?: number): void {
    const first = this.#entering && this.#trace.mark('begun', at)
    this.#entering = false
    // After preemption the prefix cache holds this request's own pages: they are not counted as a
    // hit.
    if (first) this.#cached = done
    else this.#onPrefill.call(done, total)
  }

  onCache(kind: 'predicted' | 'exact'): void {
    const { prediction, archive } = this.#source
    const tokens = this.#history.length - this.#promptTokens
    if (kind === 'predicted' && prediction)
      this.#share = prediction.share(archive.config, this.ids.length, this.#cached)
    this.#exactFrom = kind === 'exact' ? tokens : undefined
    // If the cache is exact before any token was shown, `auto` has chosen exact prefill.
    const shown = this.#history.length > this.ids.length
    this.#prefill = kind === 'exact' && !shown ? 'exact' : this.mode === 'predicted' ? 'predicted' : 'refined'
  }

  get best(): number {
    return this.#sampler.best
  }

  chooseTokens(scores: Scores): readonly number[] | undefined {
    this.#trace.mark('prefilled')
    if (this.#limit === 0) return this.#finish(false)
    const ids: number[] = []
    // What the guide forces before the first token, or after those that were repeated.
    if (!this.#showForced(ids)) return undefined
    if (ids.length > 0) return ids
    if (this.#sampler.stopped) return this.#finish(true)
    const id = this.show(this.#sampler.sample(scores))
    if (id === undefined) return undefined
    ids.push(id)
    return this.#showForced(ids) ? ids : undefined
  }

  /** Shows the tokens that the guide forces next, and adds them to `ids`. Returns false if the answer is complete. */
  #showForced(ids: number[]): boolean {
    for (const token of this.#sampler.forced()) {
      this.#forced++
      if (this.show(token) === undefined) return false
      ids.push(token.id)
    }
    return true
  }

  /** Adds the next token to the answer. Returns its id, or undefined if the answer is complete. */
  show(token: SampledToken): number | undefined {
    const { text, ended, last } = this.#add(token.id)
    this.#trace.mark('first')
    this.#trace.mark('done')
    this.events.push({ type: 'token', text, ...token })
    return last ? this.#finish(ended) : token.id
  }

  end(error?: ForetokenError): void {
    this.ended = true
    this.#sampler.end()
    this.error = this.failure ?? error
  }

  /** The failure of the caller's `onPrefill`; undefined if there is none. */
  get failure(): ForetokenError | undefined {
    return this.#onPrefill.failure
  }

  /**
   * Waits for the calls of `onPrefill` before the last event is read. Rejects with `failure`, which
   * an async function may report only after the last token.
   */
  whenCallbacksDone(): Promise<void> {
    return this.#onPrefill.settle()
  }

  /** Adds the tokens that were shown before. The answer ends here if they complete it. */
  #repeat(after: readonly number[]): void {
    const { vocab } = this.#source.archive.config
    for (const [index, unchecked] of after.entries()) {
      const id = idOf('after', unchecked, vocab)
      const { ended, last } = this.#add(id)
      if (!last) continue
      if (index < after.length - 1)
        throw new ForetokenError(
          'bad_argument',
          `after has ${after.length} tokens, and the answer ended with number ${index + 1} of them`,
        )
      this.#finish(ended)
      this.end()
    }
  }

  /**
   * Adds a token to the text. Returns the text to show, and whether the token ends the answer and
   * is its last.
   */
  #add(id: number): { readonly text: string; readonly ended: boolean; readonly last: boolean } {
    this.#history.push(id)
    this.#sampler.accept(id)
    const eos = this.#eos.has(id)
    const shown = this.#stops.push(eos ? '' : this.#detokenizer.push(id))
    const ended = shown.stopped || eos || this.#sampler.stopped
    const last = ended || this.#history.length - this.#promptTokens >= this.#limit
    const text = last && !shown.stopped ? shown.text + this.#flush() : shown.text
    this.#text += text
    return { text, ended, last }
  }

  #flush(): string {
    return this.#stops.push(this.#detokenizer.flush()).text + this.#stops.flush()
  }

  /**
   * Returns the tokens that end an answer, for as long as they must not; the model's own never may
   * where the caller ignores them, unless a guide allows nothing else.
   */
  #banOf({ minTokens: until = 0, ignoreEos, guide }: GenerateRequest): EarlyBan {
    if (!guide || !ignoreEos) return { ids: [...this.#eos], until }
    return { ids: this.#source.archive.tokenizer.eosIds, until: Number.POSITIVE_INFINITY }
  }

  #finish(ended: boolean): undefined {
    const { backend } = this.#source
    const ids = this.#history.slice(this.#promptTokens)
    this.events.push({
      type: 'done',
      finishReason: ended ? 'stop' : ids.length === this.#room ? 'context' : 'length',
      ...(this.#stops.found !== undefined && { stop: this.#stops.found }),
      text: this.#text,
      ids,
      ...this.soFar,
      prefill_share: this.#prefill === 'exact' ? 1 : this.#share,
      memory: { wasm_bytes: backend.memoryBytes() },
      build: backend.build,
    })
  }
}

function matcherOf(guide: Guide, { guides, archive }: AnswerSource, who: GuideFor): GuideMatcher {
  if (guides) return guides.matcher(guide, who)
  throw new ForetokenError(
    'unsupported',
    `a guide of the kind ${guide.kind} needs grammars, and ${archive.name} was loaded without them; load it with guides`,
  )
}

function modeOf(mode: PrefillMode, { prediction, archive }: AnswerSource): PrefillMode {
  if (mode === 'exact' || prediction) return mode
  throw new ForetokenError(
    'unsupported',
    `prefill ${mode} needs a predictor, and ${archive.name} was loaded without one; load it with one, or use exact`,
  )
}

/** Returns the ids of the tokens that end an answer. */
function endsOf({ ignoreEos, stopTokenIds = [] }: GenerateRequest, { config, tokenizer }: ModelArchive): Set<number> {
  if (stopTokenIds.length > 1024)
    throw new ForetokenError('bad_argument', `stopTokenIds holds ${stopTokenIds.length} ids; at most 1024`)
  return new Set([...(ignoreEos ? [] : tokenizer.eosIds), ...idsOf('stopTokenIds', stopTokenIds, config.vocab)])
}
