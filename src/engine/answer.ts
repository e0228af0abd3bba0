/** One request being answered: tokens in, events out. */

import type { Backend, Scores } from '../backend/backend.ts'
import { Callback } from '../base/callback.ts'
import { ForetokenError } from '../base/errors.ts'
import type { ModelArchive } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import type { Trace } from '../base/trace.ts'
import { createSampler, type SampledToken, type Sampler } from '../decode/sampling.ts'
import { createStopMatcher, type StopMatcher } from '../decode/stop.ts'
import type { Job } from '../decode/task.ts'
import { type Prediction, type PrefillMode, prefillModes } from '../predict/choice.ts'
import { createDetokenizer, type Detokenizer } from '../stream/detokenize.ts'
import type { DoneEvent, GenerateEvent } from '../stream/events.ts'
import type { Tokenizer } from '../tokens/tokenizer.ts'
import type { GenerateRequest } from './options.ts'

/** What an answer tells of the engine that made it. */
export interface AnswerSource {
  readonly archive: ModelArchive
  readonly tokenizer: Tokenizer
  readonly backend: Pick<Backend, 'build' | 'memoryBytes'>
  /** Tokens that prompt and answer may have together. */
  readonly context: number
  readonly loadMs: number
  readonly prediction: Pick<Prediction, 'share'> | undefined
}

export class Answer implements Job {
  /** The prompt, and what was shown of its answer before. */
  readonly ids: readonly number[]
  readonly tenant: string
  readonly mode: PrefillMode
  readonly signal: AbortSignal
  /** What has happened and was not read yet. */
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
  /** Tokens of the prompt. */
  readonly #prompt: number
  /** Prompt and answer. */
  readonly #history: number[]
  #text = ''
  #cached = 0
  /** The next progress is where its prompt begins. */
  #entering = true
  #prefill: DoneEvent['prefill'] = 'exact'
  /** Tokens of the answer that were made before the cache was exact. */
  #exactFrom: number | undefined = 0
  #share = 1

  /** Throws `bad_argument` for options out of their range. */
  constructor(ids: readonly number[], request: GenerateRequest, source: AnswerSource, trace: Trace) {
    const { after = [] } = request
    this.ids = after.length > 0 ? [...ids, ...after] : ids
    this.#prompt = ids.length
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
    this.#sampler = createSampler(request, { ids: [...this.#eos], until: whole('minTokens', request.minTokens ?? 0) })
    this.#room = source.context - ids.length
    this.#limit = Math.min(whole('maxTokens', request.maxTokens ?? this.#room), this.#room)
    this.#history = [...ids]
    this.#repeat(after)
  }

  cancel(): void {
    if (!this.ended) this.#controller.abort()
  }

  /** How the prompt was read, as far as it has been. */
  get soFar(): Pick<DoneEvent, 'cached_tokens' | 'prefill' | 'timings' | 'exact_from'> {
    const timings = this.#trace.timings(this.#source.loadMs, this.#prompt, this.#history.length - this.ids.length)
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
    // What it finds once its place was taken from it is its own.
    if (first) this.#cached = done
    else this.#onPrefill.call(done, total)
  }

  onCache(kind: 'predicted' | 'exact'): void {
    const made = this.#history.length - this.#prompt
    if (kind === 'predicted')
      this.#share = this.#source.prediction!.share(this.#source.archive.config, this.ids.length, this.#cached)
    this.#exactFrom = kind === 'exact' ? made : undefined
    // Exact before anything was shown is what `auto` chose.
    const shown = this.#history.length > this.ids.length
    this.#prefill = kind === 'exact' && !shown ? 'exact' : this.mode === 'predicted' ? 'predicted' : 'refined'
  }

  get best(): number {
    return this.#sampler.best
  }

  take(scores: Scores): number | undefined {
    this.#trace.mark('prefilled')
    if (this.#limit === 0) return this.#finish(false)
    return this.show(this.#sampler.sample(scores, this.#history, this.#prompt))
  }

  /** Takes the next token, from whoever made it; gives its id if more may come. */
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

  /** Why its caller's own function failed it, if it did. */
  get failure(): ForetokenError | undefined {
    return this.#onPrefill.failure
  }

  /** Called before its last event is read. Throws `failure`, also that of an async function whose last call came with the last token. */
  settle(): Promise<void> {
    return this.#onPrefill.settle()
  }

  /** Takes what was shown before. If that was all of the answer, it ends here. */
  #repeat(after: readonly number[]): void {
    const { vocab } = this.#source.archive.config
    for (const [index, id] of after.entries()) {
      if (!isWhole(id, 0, vocab - 1))
        throw new ForetokenError('bad_argument', `after holds ${id}, which is outside the vocabulary 0..${vocab - 1}`)
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

  /** Puts a token on the answer; `last`: nothing comes behind it. */
  #add(id: number): { readonly text: string; readonly ended: boolean; readonly last: boolean } {
    this.#history.push(id)
    const eos = this.#eos.has(id)
    const shown = this.#stops.push(eos ? '' : this.#detokenizer.push(id))
    const ended = shown.stopped || eos
    const last = ended || this.#history.length - this.#prompt >= this.#limit
    const text = last && !shown.stopped ? shown.text + this.#flush() : shown.text
    this.#text += text
    return { text, ended, last }
  }

  #flush(): string {
    return this.#stops.push(this.#detokenizer.flush()).text + this.#stops.flush()
  }

  #finish(ended: boolean): undefined {
    const { backend } = this.#source
    const ids = this.#history.slice(this.#prompt)
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
  if (!prefillModes.includes(mode))
    throw new ForetokenError('bad_argument', `prefill is ${mode}; it may be ${prefillModes.join(', ')}`)
  if (mode === 'exact' || prediction) return mode
  throw new ForetokenError(
    'unsupported',
    `prefill ${mode} needs a predictor, and ${archive.name} was loaded without one; load it with one, or use exact`,
  )
}

/** Tokens that end an answer. */
function endsOf({ ignoreEos, stopTokenIds = [] }: GenerateRequest, { config, tokenizer }: ModelArchive): Set<number> {
  if (stopTokenIds.length > 1024)
    throw new ForetokenError('bad_argument', `stopTokenIds holds ${stopTokenIds.length} ids; at most 1024`)
  for (const id of stopTokenIds)
    if (!isWhole(id, 0, config.vocab - 1))
      throw new ForetokenError(
        'bad_argument',
        `stopTokenIds holds ${id}, which is outside the vocabulary 0..${config.vocab - 1}`,
      )
  return new Set([...(ignoreEos ? [] : tokenizer.eosIds), ...stopTokenIds])
}

function whole(name: string, value: number): number {
  if (isWhole(value, 0, Number.POSITIVE_INFINITY)) return value
  throw new ForetokenError('bad_argument', `${name} is ${value}; it must be a whole number from 0`)
}
