/** Holds the state of one answer, which takes tokens and makes events. */

import type { Backend, Scores } from '../backend/backend.ts'
import { Callback } from '../base/callback.ts'
import { idOf, idsOf } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import type { Guide } from '../base/guide.ts'
import type { ModelArchive } from '../base/model.ts'
import type { PromptChunk } from '../base/prompt.ts'
import type { Trace } from '../base/trace.ts'
import type { Draft } from '../decode/acceptance.ts'
import type { GuideFor, GuideMatcher } from '../decode/guide.ts'
import { createSampler, type EarlyBan, type SampledToken, type Sampler } from '../decode/sampling.ts'
import type { Cut, Job } from '../decode/task.ts'
import type { Placement } from '../pack/placements.ts'
import type { Prediction, PrefillMode } from '../predict/choice.ts'
import { placedShare } from '../predict/cost.ts'
import type { GenerateEvent } from '../stream/events.ts'
import type { Tokenizer } from '../tokens/tokenizer.ts'
import { AnswerCheck, type Departure } from './answer-check.ts'
import { AnswerText } from './answer-text.ts'
import type { ChunkKeeping } from './chunk-keeper.ts'
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
  /** Keeps the chunks of prompts; undefined if none can be kept. */
  readonly chunks?: ChunkKeeping | undefined
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
  readonly chunks: readonly PromptChunk[]
  /** Chunks alone ask for no prediction. */
  readonly predicts: boolean
  readonly signal: AbortSignal
  /** Events that have not been read yet. */
  readonly events: GenerateEvent[]
  ended = false
  error: ForetokenError | undefined
  readonly #onPrefill: Callback<[done: number, total: number]>
  readonly #source: AnswerSource
  readonly #trace: Trace
  readonly #controller = new AbortController()
  readonly #request: GenerateRequest
  #sampler: Sampler
  /** The shape of the answer, which the sampler keeps; undefined without a guide. */
  readonly #matcher: GuideMatcher | undefined
  #text: AnswerText
  readonly #eos: ReadonlySet<number>
  readonly #room: number
  readonly #limit: number
  /** Number of tokens in the prompt. */
  readonly #promptTokens: number
  /** Ids of the prompt and the answer. */
  readonly #history: number[]
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
  #placed: readonly Placement[] = []
  /** Number of tokens that the guide forced. */
  #forced = 0
  /** Checks tokens that were chosen from predicted K and V; undefined before the first. */
  #check: AnswerCheck | undefined
  /** What these tokens were drawn from, by index in the answer. */
  readonly #drafts = new Map<number, Draft>()
  /** Index of the first token that did not stand; undefined if all did so far. */
  #departed: number | undefined
  /** Whether the answer is complete, and how: it waits until its cache is exact. */
  #complete: { readonly ended: boolean } | undefined

  /**
   * Throws `bad_argument` for ids outside the vocabulary and for options out of their range, and
   * `unsupported` for a prefill mode without a predictor, or a guide without grammars. `request`
   * was read by `checkedRequest`. `chunks` are those of the prompt.
   */
  constructor(
    ids: readonly number[],
    request: GenerateRequest,
    source: AnswerSource,
    trace: Trace,
    chunks: readonly PromptChunk[] = [],
  ) {
    const { after = [] } = request
    const { vocab } = source.archive.config
    for (const id of ids) idOf('the prompt', id, vocab)
    this.ids = after.length > 0 ? [...ids, ...after] : ids
    this.#promptTokens = ids.length
    this.tenant = request.tenant ?? ''
    this.mode = modeOf(request, source, chunks)
    this.chunks = chunks
    this.predicts = request.prefill !== undefined
    this.signal = request.signal ? AbortSignal.any([request.signal, this.#controller.signal]) : this.#controller.signal
    this.events = [{ type: 'prompt', ids }]
    this.#onPrefill = new Callback('onPrefill', request.onPrefill, (failure) => this.#controller.abort(failure))
    this.#request = request
    this.#source = source
    this.#trace = trace
    this.#text = new AnswerText(request, source.tokenizer)
    this.#eos = endsOf(request, source.archive)
    this.#matcher = this.#newMatcher()
    this.#history = [...ids]
    this.#room = source.context - ids.length
    this.#limit = Math.min(request.maxTokens ?? this.#room, this.#room)
    try {
      this.#sampler = this.#samplerWith(this.#matcher)
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
      ...(this.#placed.length > 0 && { placed_tokens: this.#placed.reduce((sum, { from, to }) => sum + to - from, 0) }),
    }
  }

  onAdmit(at?: number): void {
    this.#trace.mark('admitted', at)
    this.#entering = true
    this.#placed = []
  }

  onPlaced(placements: readonly Placement[]): void {
    this.#placed = placements
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
    const [length, first] = [this.ids.length, this.#cached]
    if (kind === 'predicted' && this.#placed.length > 0)
      this.#share = placedShare(archive.config, { length, first }, this.#placed)
    else if (kind === 'predicted' && prediction) this.#share = prediction.share(archive.config, length, first)
    this.#exactFrom = kind === 'exact' && !this.#complete ? tokens : undefined
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
    return this.#showThen(this.#choose(scores), ids)
  }

  /** Whether tokens that are chosen from predicted K and V are checked: until one does not stand. */
  get checking(): boolean {
    return refines(this.mode) && this.#departed === undefined
  }

  /**
   * Checks the next token that was chosen from predicted K and V. One that does not stand is
   * reported when the answer is complete, or the answer goes on from there if it is to be corrected.
   */
  checkToken(scores: Scores): Cut | undefined {
    this.#check ??= this.#newCheck()
    const departure = this.#check.next(scores, this.#history.slice(this.#promptTokens), this.#drafts)
    if (!departure) return undefined
    this.#departed = departure.index
    this.#drafts.clear()
    if (this.#request.verify) return this.#correct(departure)
    this.#check.end()
    return undefined
  }

  #newMatcher(): GuideMatcher | undefined {
    const { guide } = this.#request
    return guide && matcherOf(guide, this.#source, { tenant: this.tenant, signal: this.signal })
  }

  #newCheck(): AnswerCheck {
    const { after = [] } = this.#request
    const sampler = this.#samplerWith(this.#newMatcher())
    for (const id of after) sampler.accept(id)
    return new AnswerCheck(sampler, after.length)
  }

  #samplerWith(matcher: GuideMatcher | undefined): Sampler {
    const { vocab } = this.#source.archive.config
    return createSampler(this.#request, {
      prompt: this.#history.slice(0, this.#promptTokens),
      ban: this.#banOf(this.#request),
      guide: matcher && { matcher, vocab },
    })
  }

  /** Replaces the answer from a token on that does not stand. */
  #correct({ index, token, sampler, forced }: Departure): Cut {
    this.#sampler.end()
    this.#sampler = sampler
    this.#forced = forced
    this.#history.length = this.#promptTokens + index
    this.#text = this.#text.again(this.#history.slice(this.#promptTokens))
    this.#complete = undefined
    this.#exactFrom = index
    this.events.push({ type: 'correction', index, offset: this.#text.text.length })
    const after = this.ids.length - this.#promptTokens
    return { kept: index - after, ids: this.#showThen(token, []) }
  }

  #choose(scores: Scores): SampledToken {
    if (this.#exactFrom !== undefined || !this.checking) return this.#sampler.sample(scores)
    const { token, draft } = this.#sampler.draft(scores)
    if (draft) this.#drafts.set(this.#history.length - this.#promptTokens, draft)
    return token
  }

  /** Shows a token and those that the guide forces after it. Returns `ids` with them, or undefined if the answer is complete. */
  #showThen(token: SampledToken, ids: number[]): readonly number[] | undefined {
    const id = this.show(token)
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
    // Nobody waits for the first token any more.
    if (this.#trace.mark('first')) this.#wantChunks()
    this.#trace.mark('done')
    this.events.push({ type: 'token', text, ...token })
    return last ? this.#finish(ended) : token.id
  }

  #wantChunks(): void {
    if (this.mode !== 'exact') this.#source.chunks?.want(this.tenant, this.chunks, this.#cached)
  }

  end(error?: ForetokenError): void {
    this.ended = true
    this.#sampler.end()
    this.#check?.end()
    this.error = this.failure ?? error
    if (!this.error && this.#complete) this.#report(this.#complete.ended)
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
    const shown = this.#text.push(eos ? undefined : id)
    const ended = shown.stopped || eos || this.#sampler.stopped
    const last = ended || this.#history.length - this.#promptTokens >= this.#limit
    const text = last && !shown.stopped ? shown.text + this.#text.flush() : shown.text
    return { text, ended, last }
  }

  /**
   * Returns the tokens that end an answer, for as long as they must not; the model's own never may
   * where the caller ignores them, unless a guide allows nothing else.
   */
  #banOf({ minTokens: until = 0, ignoreEos, guide }: GenerateRequest): EarlyBan {
    if (!guide || !ignoreEos) return { ids: [...this.#eos], until }
    return { ids: this.#source.archive.tokenizer.eosIds, until: Number.POSITIVE_INFINITY }
  }

  /** Completes the answer. A predicted cache is made exact first, and the answer checked. */
  #finish(ended: boolean): undefined {
    if (refines(this.mode) && this.#exactFrom === undefined) this.#complete = { ended }
    else this.#report(ended)
  }

  #report(ended: boolean): void {
    const { backend } = this.#source
    const ids = this.#history.slice(this.#promptTokens)
    this.events.push({
      type: 'done',
      finishReason: ended ? 'stop' : ids.length === this.#room ? 'context' : 'length',
      ...(this.#text.stop !== undefined && { stop: this.#text.stop }),
      text: this.#text.text,
      ids,
      ...this.soFar,
      ...(refines(this.mode) && { verified: this.#departed ?? true }),
      prefill_share: this.#prefill === 'exact' ? 1 : this.#share,
      memory: { wasm_bytes: backend.memoryBytes() },
      build: backend.build,
    })
  }
}

/** Returns whether a mode makes predicted K and V exact. */
function refines(mode: PrefillMode): boolean {
  return mode === 'refined' || mode === 'auto'
}

function matcherOf(guide: Guide, { guides, archive }: AnswerSource, who: GuideFor): GuideMatcher {
  if (guides) return guides.matcher(guide, who)
  throw new ForetokenError(
    'unsupported',
    `a guide of the kind ${guide.kind} needs grammars, and ${archive.name} was loaded without them; load it with guides`,
  )
}

function modeOf(
  { prefill, verify, chunks: wanted }: GenerateRequest,
  { prediction, archive, chunks }: AnswerSource,
  marked: readonly PromptChunk[],
): PrefillMode {
  const keeps = chunks && (marked.length > 0 || wanted === 'auto')
  const mode = prefill ?? (keeps ? 'refined' : 'exact')
  if (verify && mode === 'predicted')
    throw new ForetokenError(
      'bad_argument',
      'verify needs K and V that are made exact, and those of prefill predicted are not; use refined or auto',
    )
  if (keeps && mode !== 'exact') chunks.requirePlaceable()
  if (mode === 'exact' || prediction || (keeps && mode !== 'auto')) return mode
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
