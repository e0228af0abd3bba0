/**
 * Chooses the next token: mask -> penalties -> logit bias -> early ban -> temperature -> top-k ->
 * top-p -> min-p -> draw. Each stage has its state, and `accept` adds a token to all of them.
 *
 * Log-probabilities describe the model's own distribution, before penalties, bias, temperature and
 * filters, as clients of OpenAI's API expect; under a guide, that of the tokens which fit it.
 */
import type { Scores, Shortlist } from '../backend/backend.ts'
import { at, defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import { type Draft, draftOf, drawInstead, accepted as isAccepted } from './acceptance.ts'
import { draw, drawToken } from './draw.ts'
import { filterTokens } from './filters.ts'
import { type GuideMatcher, Mask } from './guide.ts'
import { argmax, normalize } from './logprobs.ts'
import { topIds } from './order.ts'
import { createPenalties } from './penalties.ts'
import { createRandom } from './random.ts'
import { filtersOf, penaltiesOf, type SamplingOptions, topLogprobsOf } from './sampling-options.ts'
import { apartFrom, checkedSeed } from './seed.ts'

/** A chosen token with its natural log-probability. */
export interface SampledToken {
  readonly id: number
  readonly logprob: number
  /** Likeliest first; absent unless requested. Fewer than requested where fewer fit the guide. */
  readonly topLogprobs?: readonly { readonly id: number; readonly logprob: number }[]
}

/** Tokens that must not be drawn while an answer is short. */
export interface EarlyBan {
  readonly ids: readonly number[]
  /** The ban ends when the answer has this many tokens. */
  readonly until: number
}

/** What a sampler knows of its answer. */
export interface AnswerContext {
  /** Ids of the prompt, which the repetition penalty counts. */
  readonly prompt?: readonly number[]
  readonly ban?: EarlyBan
  /** The shape of the answer, and the number of logits. The sampler owns the matcher. */
  readonly guide?: { readonly matcher: GuideMatcher; readonly vocab: number } | undefined
}

/**
 * Chooses the tokens of one answer. Its state depends only on the tokens that it accepted, not on
 * how they were chosen: an answer that is repeated elsewhere goes on as if it had been made there.
 */
export interface Sampler {
  /** How many of the best logits the sampler reads; Infinity if it reads all. */
  readonly best: number
  /**
   * Returns the next token for `scores`, which hold at least the `best` logits and are not changed.
   * Until a token is accepted, equal scores give the same token. Throws `internal` for logits that
   * are NaN.
   */
  sample(scores: Scores): SampledToken
  /**
   * Returns the next token for scores that are not exact, and what `check` needs to know of how it
   * was drawn.
   */
  draft(scores: Scores): { readonly token: SampledToken; readonly draft: Draft | undefined }
  /**
   * Checks the next token, which `draft` returned for other scores, by the exact ones. Returns
   * undefined if it stands, and otherwise the token that replaces it. A greedy token stands if it is
   * the best; others do by the rule of speculative sampling, which leaves every token with its exact
   * probability. Each call draws its own numbers, so a token is checked once.
   */
  check(scores: Scores, id: number, draft: Draft | undefined): SampledToken | undefined
  /** Adds a token to the answer. Throws `bad_argument` for one that the guide excludes. */
  accept(id: number): void
  /** Returns the tokens that the guide forces next; none where there is a choice. */
  forced(): readonly SampledToken[]
  /** Whether the guide allows no further token. */
  readonly stopped: boolean
  /** Frees the guide's state. May be called twice. */
  end(): void
}

/** Scores that tokens are drawn by. */
interface Weighed {
  readonly scores: Float32Array
  /** The ids of the scores; undefined if scores are by id. */
  readonly ids: Int32Array | undefined
  /** Returns the place of the best score. */
  best(): number
  /** Makes a token of a place among the scores. */
  token(place: number): SampledToken
}

/** The stream of random numbers that checks draw. */
const judged = 0x63686b73

/** Checks the options once and returns the sampler of one answer. Throws `bad_argument`. */
export function createSampler(options: SamplingOptions = {}, answer: AnswerContext = {}): Sampler {
  const { prompt = [], ban = { ids: [], until: 0 }, guide } = answer
  const filters = filtersOf(options)
  const penalties = createPenalties(penaltiesOf(options), prompt)
  const topLogprobs = topLogprobsOf(options)
  const seed = options.seed === undefined ? undefined : checkedSeed(options.seed)
  const random = createRandom(seed)
  const mask = guide && new Mask(guide.matcher, guide.vocab)
  const raw = options.rawLogprobs === true
  const bans = ban.ids.length > 0 && ban.until > 0
  const neutral = penalties.neutral && !bans
  // 1 / temperature must stay finite, and long before that only the likeliest token has a chance.
  const greedy = filters.temperature < 1e-6
  let scratch = new Float32Array(0)
  let accepted = 0
  let uniform: number | undefined
  /** Draws for checks, apart from those for tokens. */
  let judging: (() => number) | undefined

  const drawn = greedy ? 1 : filters.topK || Number.POSITIVE_INFINITY
  const best = neutral && !mask ? Math.max(drawn, topLogprobs) : Number.POSITIVE_INFINITY

  /** Returns the random number of the next token. */
  function chance(): number {
    uniform ??= random()
    return uniform
  }

  /** Reads a shortlist, where a position is a rank and not an id. */
  function ofShortlist({ logits, ids, logSum }: Shortlist): Weighed {
    if (best > ids.length)
      throw new ForetokenError('internal', `a shortlist of ${ids.length} logits, where ${best} are read`)
    const scored = (rank: number) => ({ id: at(ids, rank), logprob: at(logits, rank) - logSum })
    const possible = logits.subarray(0, topLogprobs).filter((logit) => logit > Number.NEGATIVE_INFINITY).length
    const top = topLogprobs > 0 && { topLogprobs: Array.from({ length: possible }, (_, rank) => scored(rank)) }
    return { scores: logits, ids, best: () => 0, token: (rank) => ({ ...scored(rank), ...top }) }
  }

  /** Copies logits into the working memory. */
  function copied(logits: Float32Array): Float32Array {
    if (scratch.length !== logits.length) scratch = new Float32Array(logits.length)
    scratch.set(logits)
    return scratch
  }

  function masked(logits: Float32Array): Float32Array {
    if (!mask) return logits
    mask.apply(copied(logits))
    return scratch
  }

  /** Returns the scores that tokens are drawn by, and what makes a token of one of them. */
  function weighed(logits: Scores): Weighed {
    if ('ids' in logits) return ofShortlist(logits)
    const fitting = masked(logits)
    const shown = raw ? logits : fitting
    const { id: first, logSum } = normalize(shown)
    // A mask leaves the logits of the tokens that fit as they are.
    const scored = (id: number) => ({ id, logprob: at(logits, id) - logSum })
    const top = topLogprobs > 0 && { topLogprobs: Array.from(topIds(shown, topLogprobs), scored) }
    let scores = fitting
    if (!neutral) {
      scores = mask ? fitting : copied(logits)
      penalties.apply(scores)
      if (bans && accepted < ban.until) forbid(ban.ids, scores)
    }
    const best = () => (scores === shown && neutral ? first : argmax(scores))
    return { scores, ids: undefined, best, token: (id) => ({ ...scored(id), ...top }) }
  }

  return {
    best,
    get stopped() {
      return mask?.stopped ?? false
    },
    accept(id) {
      if (!greedy) chance()
      uniform = undefined
      accepted++
      penalties.accept(id)
      mask?.accept(id)
    },
    forced() {
      if (!mask || raw) return []
      const alone = (id: number) => ({ id, logprob: 0 })
      const listed = (id: number) => ({ ...alone(id), ...(topLogprobs > 0 && { topLogprobs: [alone(id)] }) })
      return mask.forced().map(listed)
    },
    sample(logits) {
      const { scores, best, token } = weighed(logits)
      return token(greedy ? best() : drawToken(scores, filters, chance()))
    },
    draft(logits) {
      const { scores, ids, best, token } = weighed(logits)
      if (greedy) return { token: token(best()), draft: undefined }
      const draft = draftOf(scores, filters)
      const chosen = token(draw(draft, chance()))
      return { token: chosen, draft: ids ? { ...draft, ids: draft.ids.map((rank) => at(ids, rank)) } : draft }
    },
    check(logits, id, draft) {
      const { scores, ids, best, token } = weighed(logits)
      if (greedy) {
        const exact = token(best())
        return exact.id === id ? undefined : exact
      }
      if (!draft) throw new ForetokenError('internal', `token ${id} is checked, and how it was drawn is not known`)
      judging ??= createRandom(seed === undefined ? undefined : apartFrom(seed, judged))
      const exact = filterTokens(scores, filters)
      const named = ids ? { ...exact, ids: exact.ids.map((rank) => at(ids, rank)) } : exact
      const [keeping, replacing] = [judging(), judging()]
      if (isAccepted(named, draft, id, keeping)) return undefined
      return token(defined(exact.ids[drawInstead(named, draft, replacing)]))
    },
    end() {
      mask?.end()
    },
  }
}

/** Forbids tokens, unless no other token would be left. */
function forbid(ids: readonly number[], scores: Float32Array): void {
  const before = ids.map((id) => scores[id])
  for (const id of ids) if (id < scores.length) scores[id] = Number.NEGATIVE_INFINITY
  if (scores[argmax(scores)] !== Number.NEGATIVE_INFINITY) return
  ids.forEach((id, index) => {
    if (id < scores.length) scores[id] = defined(before[index])
  })
}
