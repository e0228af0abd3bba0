/**
 * Decides which tokens run in the next pass, so that TTFT is short, running streams do not stall
 * for long, and no request starves.
 *
 * - Every running stream gets its decode step in every pass; prompts get the rows that the stall
 *   bound leaves.
 * - Prompts are ordered by their remaining cost plus a share of their arrival time: the shortest
 *   goes first, but one that arrives more than `cost / aging` after a long one can no longer
 *   overtake it.
 * - A pass takes no further prompt once the core is fully used: more rows would only delay the
 *   first tokens of the prompts in it.
 * - Rows go first to the tenant that has received the least work; the rules above apply within a
 *   tenant.
 * - With several tenants the stall bound holds for every pass, since a newcomer waits for the end
 *   of the current one.
 * - A prompt that is read in one pass goes alone if it is longer than these bounds.
 * - Bulk work, whose first token nobody waits for, fills whole passes while it is alone. Prompts go
 *   before it as if it had arrived later, and beside streams it takes at most as long as they do.
 */
import type { PassCost } from './pass-cost.ts'
import type { Standings, TenantAccounts } from './tenant-accounts.ts'
import { inTurns, TurnQueue } from './turn-queue.ts'

/** Determines which prompt goes first, and how full a pass gets. */
export type Order =
  /** The cheapest first; a pass is full once the core is. */
  | 'shortest'
  /** The cheapest first, as many as the budget allows. */
  | 'pack'
  /** In order of arrival, one prompt at a time. */
  | 'arrival'

/** Settings of the policy. */
export interface Policy {
  /** Maximum number of tokens in a pass. */
  readonly budget: number
  /**
   * Maximum number of prompt tokens in a pass with the order `shortest`, since new requests wait
   * for its end.
   */
  readonly chunk: number
  readonly order: Order
  /** Number of rows beyond which a row gets no cheaper. */
  readonly fullRows: number
  /**
   * Maximum delay of a running stream's next token by prompts, in milliseconds. With several
   * tenants, it also limits the time of prompts in any pass.
   */
  readonly stallMs: number
  /**
   * Maximum delay of a running stream's next token by making predicted K and V exact sooner than
   * their prompts ask for (`lagOf`), in milliseconds. 0 makes the number of these rows independent
   * of the clock.
   */
  readonly refineMs: number
  /** Milliseconds of prefill that one millisecond of waiting is worth. */
  readonly aging: number
}

/** The policy's view of a request. */
export interface Candidate {
  /** The tenant of the request. Default ''. */
  readonly tenant?: string
  /** Number of tokens to run before its next logits: 1 for a running stream. */
  readonly pending: number
  /** Number of these that are expected to be computed rather than found in the prefix cache. */
  readonly expected: number
  /** Whether its answer has begun. */
  readonly streaming: boolean
  /** Time of arrival in milliseconds. */
  readonly arrived: number
  /** Number of requests that arrived before it. */
  readonly number: number
  /** Number of the pass that it was last part of; -1 if none. */
  readonly lastPass: number
  /** Number of tokens in its cache that have to be made exact. */
  readonly inexact: number
  /** Whether it shows nothing until its cache is exact. */
  readonly doubted: boolean
  /**
   * Number of passes in which its cache should become exact, this one included; 0 if it should be.
   * Default: unlimited.
   */
  readonly lag?: number
  /**
   * Whether nobody waits for its first token, as for an embedding; `last` if nobody waits for it at
   * all. Default false.
   */
  readonly bulk?: boolean | 'last'
  /** Whether all its tokens are in one pass, at most `budget`. Default false. */
  readonly whole?: boolean
}

/** A candidate's part of a pass: `count` tokens. */
export interface Share<C> {
  readonly candidate: C
  readonly count: number
}

/**
 * Number of prompt tokens that every pass takes, whatever the stall bound, so that streams can't
 * starve prompts.
 */
const leastPrefill = 16

/**
 * Number of rows that the kernels process at once. One row more than a multiple of it costs nearly
 * as much as the next multiple.
 */
const tileRows = 4

/** Cost of other prompts, in milliseconds of prefill, that go before a bulk one that came first. */
const bulkDelayMs = 1000

/** Number of tokens that a pass makes exact if costs can't be measured: about a page. */
const blindRefined = 16

/**
 * Returns the number of answer tokens within which the cache of a prompt of `length` tokens should
 * be exact: 48 for 512, 96 for 1,024.
 */
export function lagOf(length: number): number {
  return Math.max(1, Math.floor((48 / 512) * length))
}

/**
 * Returns the streams in the order in which they get their steps: tenants take turns, and within a
 * tenant the stream that has waited longest goes first.
 */
export function streamsInOrder<C extends Candidate>(candidates: readonly C[], standings?: Standings): C[] {
  const streams = candidates.filter(isStep).sort((a, b) => a.lastPass - b.lastPass || a.number - b.number)
  return inTurns(streams, standings)
}

/**
 * Returns how many rows of a pass streams leave to waiting prompts. If a pass has one token only,
 * streams and prompts alternate.
 */
export function reservedRows(candidates: readonly Candidate[], { budget }: Policy): number {
  const prompts = candidates.filter(isPrompt)
  if (prompts.length === 0) return 0
  if (budget > 1) return Math.min(leastPrefill, Math.ceil(budget / 4))
  const served = (requests: readonly Candidate[]) =>
    requests.reduce((latest, { lastPass }) => Math.max(latest, lastPass), -1)
  return served(prompts) >= served(candidates.filter(isStep)) ? 0 : 1
}

/**
 * Chooses the prompts of the next pass beside `taken` decode steps, in order. `admit` returns
 * whether a prompt gets the KV pages for at most `limit` tokens; it may find some of them in the
 * prefix cache.
 */
export function promptShares<C extends Candidate>(
  candidates: readonly C[],
  taken: number,
  policy: Policy,
  cost: PassCost,
  admit: (candidate: C, limit: number) => boolean,
  accounts?: Pick<TenantAccounts, 'standingOf' | 'tenants'>,
): Share<C>[] {
  const { order, fullRows } = policy
  const several = (accounts?.tenants ?? 1) > 1
  const room = promptRows(taken, policy, cost, several)
  const shares: Share<C>[] = []
  let left = room
  const ordered = inOrder(candidates, policy, cost)
  // Only bulk work is there, so that nobody waits for a shorter pass.
  const alone = taken === 0 && ordered.every(({ bulk }) => bulk)
  const bulkRoom = alone ? room : Math.min(room, bulkRows(taken, policy, cost))
  const queue = new TurnQueue(ordered, accounts?.standingOf)
  for (let candidate = queue.next(); candidate; candidate = queue.next()) {
    const rows = taken + room - left
    const filling = order === 'pack' || (candidate.bulk && alone)
    const full = shares.length === 0 || filling ? left : Math.min(left, fullRows - rows)
    const fair = candidate.bulk ? Math.min(full, bulkRoom - (room - left)) : full
    // The first is read whatever its length: it would get no shorter.
    const limit = candidate.whole && shares.length === 0 ? policy.budget - taken : fair
    if (limit <= 0 && candidate.bulk) continue
    if (candidate.whole && candidate.pending > limit) continue
    if (limit <= 0 || (order === 'arrival' && shares.length > 0 && !alone)) break
    // A prompt that gets its first token from this pass must not wait for a part of another
    // tenant's long prompt.
    const [first] = shares
    if (several && order === 'shortest' && first && isOthers(candidate, first) && candidate.expected > limit) break
    if (!admit(candidate, limit)) continue
    const count = Math.min(candidate.pending, limit)
    shares.push({ candidate, count })
    queue.charge(count)
    left -= count
  }
  return shares
}

function isOthers<C extends Candidate>(candidate: C, { candidate: first }: Share<C>): boolean {
  return candidate.tenant !== first.tenant
}

/**
 * Returns how many rows prompts get beside `taken` decode steps. `several` says whether requests of
 * more than one tenant are present.
 */
function promptRows(taken: number, policy: Policy, cost: PassCost, several: boolean): number {
  const { order, chunk, fullRows, stallMs, budget } = policy
  const most = order === 'shortest' ? Math.min(chunk, budget - taken) : budget - taken
  if (taken === 0 && !several) return most
  const within = Math.min(most, Math.max(leastPrefill, cost.rowsWithin(stallMs, budget) - taken))
  // While costs are unknown, a pass is just large enough for a low cost per row.
  return several && !cost.known ? Math.min(within, fullRows) : within
}

/**
 * Returns how many rows bulk work gets beside `taken` decode steps: about as many as double the time
 * of the steps, so that streams keep half of their pace.
 */
function bulkRows(taken: number, { stallMs, fullRows, budget }: Policy, cost: PassCost): number {
  if (taken === 0) return fullRows
  const alone = cost.estimate(taken)
  if (alone === undefined) return leastPrefill
  return Math.max(leastPrefill, cost.rowsWithin(Math.min(stallMs, 2 * alone), budget) - taken)
}

/** How `refineShares` fills a pass. */
export interface Refining {
  /** Cost of a refined row divided by the cost of an exact one. Default 1. */
  readonly rowCost?: number | undefined
  readonly standings?: Standings | undefined
  /** Whether prompts are in the pass. They wait for their first tokens, so streams get few rows. */
  readonly prompts?: boolean
}

/**
 * Chooses which tokens of predicted caches are made exact beside `taken` rows: first those of
 * requests whose first token waits for it, then by arrival.
 *
 * Streams get the rows that their prompts ask for, so that each is exact within `lagOf` tokens of
 * its answer, in whole tiles, since a part of a tile costs as much. All of them together get no
 * more than fill the core, beyond which they would only delay each other. They get more where that
 * is cheap: where a token is delayed by no more than `refineMs`, and streams keep about half of
 * their pace.
 */
export function refineShares<C extends Candidate>(
  candidates: readonly C[],
  taken: number,
  { budget, refineMs, fullRows }: Policy,
  cost: PassCost,
  { rowCost = 1, standings, prompts = false }: Refining = {},
): (Share<C> & { readonly refine: true })[] {
  const waiting = candidates.filter(({ inexact }) => inexact > 0)
  // Before the first pass costs are unknown, so no more is refined than what is asked for.
  const alone = cost.estimate(taken)
  const unknown = cost.blind ? tiled(taken + blindRefined) : 0
  const within = (ms: number) => taken + Math.floor((cost.rowsWithin(ms, budget) - taken) / rowCost)
  const measured =
    alone === undefined ? unknown : Math.min(tiled(within(alone + refineMs)), nearestTile(within(alone + alone)))
  const cheap = refineMs === 0 ? 0 : measured
  // Whatever passes cost, refine twice as fast as streams extend their caches.
  const least = taken + 2 * waiting.length
  const asked = Math.min(fullRows, taken + waiting.reduce((sum, candidate) => sum + paceOf(candidate), 0))
  const most = prompts ? least : Math.max(least, asked)
  let left = taken === 0 ? budget : Math.min(budget, Math.max(tiledUp(most), cheap)) - taken
  // Streams beside prompts share what is left of the least.
  let few = prompts ? tiledUp(least) - taken : left
  const shares: (Share<C> & { readonly refine: true })[] = []
  waiting.sort((a, b) => a.number - b.number)
  for (const doubted of [true, false]) {
    const queue = new TurnQueue(
      waiting.filter((candidate) => candidate.doubted === doubted),
      standings,
    )
    for (let candidate = queue.next(); candidate && left > 0; candidate = queue.next()) {
      const count = Math.min(doubted ? left : Math.min(left, few), candidate.inexact)
      if (count <= 0) break
      shares.push({ candidate, count, refine: true })
      queue.charge(count)
      left -= count
      if (!doubted) few -= count
    }
  }
  return shares
}

/** Returns the number of rows that make a cache exact in time, while a stream extends it. */
function paceOf({ inexact, lag = Number.POSITIVE_INFINITY }: Candidate): number {
  return Math.ceil(inexact / Math.max(1, lag)) + 1
}

/** Returns how many rows of a pass with prompts are kept for making caches exact. */
export function refinedBeside(candidates: readonly Candidate[], { budget }: Policy): number {
  const waiting = candidates.filter(({ inexact, doubted }) => inexact > 0 && !doubted).length
  return waiting === 0 ? 0 : Math.min(tiledUp(2 * waiting), Math.floor(budget / 4))
}

function tiledUp(rows: number): number {
  return tileRows * Math.ceil(rows / tileRows)
}

function tiled(rows: number): number {
  return rows - (rows % tileRows)
}

function nearestTile(rows: number): number {
  return tiled(rows + tileRows / 2)
}

function inOrder<C extends Candidate>(candidates: readonly C[], policy: Policy, cost: PassCost): C[] {
  const perToken = (cost.estimate(policy.budget) ?? policy.budget) / policy.budget
  const key = ({ expected, arrived, bulk }: C) =>
    (bulk === 'last' ? Number.MAX_VALUE : bulk ? bulkDelayMs : 0) +
    (policy.order === 'arrival' ? arrived : expected * perToken + arrived * policy.aging)
  return candidates
    .filter(isPrompt)
    .map((candidate) => ({ candidate, key: key(candidate) }))
    .sort((a, b) => a.key - b.key || a.candidate.number - b.candidate.number)
    .map(({ candidate }) => candidate)
}

function isStep({ streaming, pending }: Candidate): boolean {
  return streaming && pending === 1
}

/** Returns true if it has tokens to read, and not only to make exact. */
function isPrompt(candidate: Candidate): boolean {
  return candidate.pending > 0 && !isStep(candidate)
}
