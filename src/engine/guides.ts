/** Loads the grammar engine at its first use, and makes the matchers of answers. */
import { fieldsOf, signalOf, withArguments } from '../base/checks.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import type { Guide } from '../base/guide.ts'
import type { ModelArchive } from '../base/model.ts'
import type { PreparedPrompt, PromptInput } from '../base/prompt.ts'
import { untilAborted } from '../base/until-aborted.ts'
import type { GuideFor, GuideMatcher, Guides, OpenGuides } from '../decode/guide.ts'
import type { PrepareOptions as PromptPrepareOptions, Prompts } from '../tokens/prompts.ts'
import type { Tokenizer } from '../tokens/tokenizer.ts'

/** How a prompt is prepared, with the guide of its answer. */
export interface PrepareOptions extends PromptPrepareOptions {
  readonly guide?: Guide | undefined
}

/**
 * Prepares a prompt, and compiles the guide of its answer meanwhile. Rejects with the errors of both,
 * and with `aborted` when the options' signal or `closing`, the end of the engine, fires.
 */
export async function prepareGuided(
  prompts: Prompts,
  guides: LazyGuides | undefined,
  prompt: PromptInput,
  options: PrepareOptions,
  closing: AbortSignal,
): Promise<PreparedPrompt> {
  const fields = withArguments('prepare', () => fieldsOf('the options', options, 'be absent'))
  // Without grammars the request is refused when it is submitted.
  if (!fields.guide || !guides) return prompts.prepare(prompt, fields)
  const signal = signalOf('signal', fields.signal)
  const both = Promise.all([
    prompts.prepare(prompt, fields),
    guides.compile(fields.guide, { tenant: fields.tenant, signal }),
  ])
  const [ids] = await untilAborted(both, signal, closing)
  return ids
}

/** Makes matchers of guides. */
export interface GuideSource {
  /** Throws what compiling the guide throws, if that is done at once. */
  matcher(guide: Guide, who: GuideFor): GuideMatcher
}

/** The guides of one engine. Nothing is loaded before the first guide is asked for. */
export class LazyGuides implements GuideSource {
  readonly #open: () => Promise<OpenGuides>
  readonly #archive: ModelArchive
  readonly #tokenizer: Tokenizer
  #loaded: Guides | undefined
  #loading: Promise<Guides> | undefined
  #closed = false

  constructor(open: () => Promise<OpenGuides>, archive: ModelArchive, tokenizer: Tokenizer) {
    this.#open = open
    this.#archive = archive
    this.#tokenizer = tokenizer
  }

  /**
   * Resolves when the guide is compiled, so that `matcher` need not wait. Rejects with
   * `bad_argument`, `unsupported`, `busy`, `aborted` and the errors of loading.
   */
  async compile(guide: Guide, who: GuideFor = {}): Promise<void> {
    const guides = this.#loaded ?? (await this.#load())
    await guides.compile(guide, who)
  }

  matcher(guide: Guide, who: GuideFor = {}): GuideMatcher {
    if (this.#loaded?.isCompiled(guide, who)) return this.#loaded.matcher(guide, who)
    const control = new AbortController()
    const signal = who.signal ? AbortSignal.any([who.signal, control.signal]) : control.signal
    return new LateMatcher(this.#late(guide, { ...who, signal }), control)
  }

  /** Ends what compiles. */
  close(): void {
    this.#closed = true
    this.#loaded?.close?.()
  }

  async #late(guide: Guide, who: GuideFor): Promise<GuideMatcher> {
    const guides = this.#loaded ?? (await this.#load())
    await guides.compile(guide, who)
    return guides.matcher(guide, who)
  }

  #load(): Promise<Guides> {
    this.#loading ??= this.#opened().catch((error) => {
      // The next guide tries again.
      this.#loading = undefined
      throw asForetokenError(error, 'io', 'loading the grammar engine')
    })
    return this.#loading
  }

  async #opened(): Promise<Guides> {
    const open = await this.#open()
    const { config, tokenizer: spec } = this.#archive
    const guides = await open({ vocab: config.vocab, tokenizer: this.#tokenizer, eosIds: spec.eosIds, spec })
    if (this.#closed) guides.close?.()
    this.#loaded = guides
    return guides
  }
}

/** A matcher whose grammar is being compiled. Tokens accepted meanwhile are repeated. */
class LateMatcher implements GuideMatcher {
  ready: Promise<void> | undefined
  readonly #early: number[] = []
  readonly #compiling: AbortController
  #inner: GuideMatcher | undefined
  #ended = false

  constructor(coming: Promise<GuideMatcher>, compiling: AbortController) {
    this.#compiling = compiling
    this.ready = coming.then((matcher) => {
      this.ready = undefined
      if (this.#ended) return matcher.end()
      this.#inner = matcher
      for (const id of this.#early) matcher.accept(id)
    })
    // Reported to whoever waits for it.
    this.ready.catch(() => {})
  }

  get stopped(): boolean {
    return this.#inner?.stopped ?? false
  }

  mask(into: Uint32Array): boolean {
    return this.#compiled().mask(into)
  }

  accept(id: number): void {
    if (this.#inner) this.#inner.accept(id)
    else this.#early.push(id)
  }

  forced(): readonly number[] {
    return this.#compiled().forced()
  }

  end(): void {
    this.#ended = true
    this.#compiling.abort()
    this.#inner?.end()
  }

  #compiled(): GuideMatcher {
    if (this.#inner) return this.#inner
    throw new ForetokenError('internal', 'a token was chosen before its guide was compiled')
  }
}
