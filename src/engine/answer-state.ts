/** Holds the state of one answer, which takes tokens and makes events. */

import type { Backend, Scores } from '../backend/backend.ts'
import { Callback } from '../base/callback.ts'
import { idOf, idsOf } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import type { ModelArchive } from '../base/model.ts'
import type { Trace } from '../base/trace.ts'
import { createSampler, type SampledToken, type Sampler } from '../decode/sampling.ts'
import { createStopMatcher, type StopMatcher } from '../decode/stop.ts'
import type { Job } from '../decode/task.ts'
import type { Prediction, PrefillMode } from '../predict/choice.ts'
import { createDetokenizer, type Detokenizer } from '../stream/detokenize.ts'
import type { GenerateEvent } from '../stream/events.ts'
import type { Tokenizer } from '../tokens/tokenizer.ts'
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

  /**
   * Throws `bad_argument` for ids outside the vocabulary and for options out of their range, and
   * `unsupported` for a prefill mode without a predictor. `request` was read by `checkedRequest`.
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
    this.#detokenizer = createDetokenizer(source.tokenizer)
    this.#stops = createStopMatcher(request.stop ?? [])
    this.#eos = endsOf(request, source.archive)
    this.#sampler = createSampler(request, { ids: [...this.#eos], until: request.minTokens ?? 0 })
    this.#room = source.context - ids.length
    this.#limit = Math.min(request.maxTokens ?? this.#room, this.#room)
    this.#history = [...ids]
    this.#repeat(after)
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
      timings,
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

  chooseToken(scores: Scores): number | undefined {
    this.#trace.mark('prefilled')
    if (this.#limit === 0) return this.#finish(false)
    return this.show(this.#sampler.sample(scores, this.#history, this.#promptTokens))
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
      this.#sampler.skip()
      const { ended, last } = this.#add(id)
      if (!last) continue
      if (index < after.length - 1)
        throw new ForetokenError(
          'bad_argument',
          `after has ${after.length} tokens, and the answer ended with number ${index + 1} of them`,
        )
      this.#finish(ended)
      this.ended = true
    }
  }

  /**
   * Adds a token to the text. Returns the text to show, and whether the token ends the answer and
   * is its last.
   */
  #add(id: number): { readonly text: string; readonly ended: boolean; readonly last: boolean } {
    this.#history.push(id)
    const eos = this.#eos.has(id)
    const shown = this.#stops.push(eos ? '' : this.#detokenizer.push(id))
    const ended = shown.stopped || eos
    const last = ended || this.#history.length - this.#promptTokens >= this.#limit
    const text = last && !shown.stopped ? shown.text + this.#flush() : shown.text
    this.#text += text
    return { text, ended, last }
  }

  #flush(): string {
    return this.#stops.push(this.#detokenizer.flush()).text + this.#stops.flush()
  }

  #finish(ended: boolean): undefined {
    const { backend } = this.#source
    const ids = this.#history.slice(this.#promptTokens)
    this.events.push({
      type: 'done',
      finishReason: ended ? 'stop' : ids.length === this.#room ? 'context' : 'length',
      text: this.#text,
      ids,
      ...this.soFar,
      prefill_share: this.#prefill === 'exact' ? 1 : this.#share,
      memory: { wasm_bytes: backend.memoryBytes() },
      build: backend.build,
    })
  }
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
