/**
 * What goes into the next pass: first tokens soon, running streams not stalled for long, nobody starved.
 *
 * - Every running stream gets its decode step in every pass; prompts get what the stall bound leaves.
 * - Prompts go by what they still cost plus a share of when they came: the shortest first, but one that came
 *   `cost / aging` later than a long one can no longer pass it.
 * - A pass takes no further prompt once the core is full: more rows would only delay the first tokens of those in it.
 * - Tenants take turns: rows go first to the tenant that passes did least for. All of this holds within a tenant.
 * - Where there are several tenants, the stall bound holds for every pass: whoever comes waits for the end of the one under way.
 */
import type { PassCost } from './pass-cost.ts'
import { inTurns, type Standings, TurnQueue, type Turns } from './turns.ts'

/** Which prompt goes first, and how full a pass is made. */
export type Order =
  /** The cheapest first, a pass full once the core is. */
  | 'shortest'
  /** The cheapest first, as many as the budget holds. */
  | 'pack'
  /** As they came, one prompt at a time. */
  | 'arrival'

export interface Policy {
  /** Tokens of a pass. */
  readonly budget: number
  /** Most prompt tokens of a pass in order `shortest`: who comes while it runs waits for its end. */
  readonly chunk: number
  readonly order: Order
  /** Rows from which on a pass gets no cheaper per row. */
  readonly fullRows: number
  /**
   * Milliseconds that a running stream may wait for its next token because of prompts; and those that a pass takes for prompts where
   * requests of several tenants come, with streams or without.
   */
  readonly stallMs: number
  /** Milliseconds that making predicted K and V exact may add to a running stream's next token. */
  readonly refineMs: number
  /** Milliseconds of prefill that one millisecond of waiting is worth. */
  readonly aging: number
}

/** A request as the policy sees it. */
export interface Candidate {
  /** Whose request it is. Default ''. */
  readonly tenant?: string
  /** Tokens still to run before its next logits: 1 for a running stream. */
  readonly pending: number
  /** As many of them as are expected to be computed, and not found in the prefix cache. */
  readonly expected: number
  /** It has begun to answer. */
  readonly streaming: boolean
  /** When it came, milliseconds. */
  readonly arrived: number
  /** How many came before it. */
  readonly number: number
  /** The pass it was last part of. */
  readonly lastPass: number
  /** Tokens of its cache that are to be made exact. */
  readonly inexact: number
  /** It shows nothing before its cache is exact. */
  readonly doubted: boolean
}

/** `count` tokens of a candidate. */
export interface Share<C> {
  readonly candidate: C
  readonly count: number
}

/** Prompt tokens that every pass takes, whatever the stall bound says: streams may not starve prompts. */
const leastPrefill = 16

/** The kernels run so many rows at once: one row more than a multiple costs nearly as much as the next multiple. */
const tileRows = 4

/** Tokens that a pass makes exact where costs can't be measured: about a page. */
const blindRefined = 16

/** The streams, in the order in which they get their steps: tenants in turns, and of each the longest unserved first. */
export function streamsInOrder<C extends Candidate>(candidates: readonly C[], standings?: Standings): C[] {
  const streams = candidates.filter(isStep).sort((a, b) => a.lastPass - b.lastPass || a.number - b.number)
  return inTurns(streams, standings)
}

/** Rows of a pass that streams leave to prompts that wait; of a pass of one token, every other one. */
export function reservedRows(candidates: readonly Candidate[], { budget }: Policy): number {
  const prompts = candidates.filter((candidate) => !isStep(candidate) && !isDoubted(candidate))
  if (prompts.length === 0) return 0
  if (budget > 1) return Math.min(leastPrefill, Math.ceil(budget / 4))
  const served = (some: readonly Candidate[]) => Math.max(-1, ...some.map(({ lastPass }) => lastPass))
  return served(prompts) >= served(candidates.filter(isStep)) ? 0 : 1
}

/**
 * The prompts of the next pass beside `taken` decode steps, in order. `admit` says whether one gets the KV pages for at
 * most `limit` tokens; it may find some of them in the prefix cache.
 */
export function promptShares<C extends Candidate>(
  candidates: readonly C[],
  taken: number,
  policy: Policy,
  cost: PassCost,
  admit: (candidate: C, limit: number) => boolean,
  turns?: Pick<Turns, 'of' | 'tenants'>,
): Share<C>[] {
  const { order, fullRows } = policy
  const several = (turns?.tenants ?? 1) > 1
  const room = promptRows(taken, policy, cost, several)
  const shares: Share<C>[] = []
  let left = room
  const queue = new TurnQueue(inOrder(candidates, policy, cost), turns?.of)
  for (let candidate = queue.next(); candidate; candidate = queue.next()) {
    const rows = taken + room - left
    const limit = shares.length === 0 || order === 'pack' ? left : Math.min(left, fullRows - rows)
    if (limit <= 0 || (order === 'arrival' && shares.length > 0)) break
    // Whoever is to have a first token behind this pass does not wait for a piece of another tenant's long prompt.
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

/** Rows that prompts get beside `taken` decode steps; `several`: requests of more than one tenant come. */
function promptRows(taken: number, policy: Policy, cost: PassCost, several: boolean): number {
  const { order, chunk, fullRows, stallMs, budget } = policy
  const most = order === 'shortest' ? Math.min(chunk, budget - taken) : budget - taken
  if (taken === 0 && !several) return most
  const within = Math.min(most, Math.max(leastPrefill, cost.rowsWithin(stallMs, budget) - taken))
  // Where nothing is known of costs, a pass is as large as makes a row cheap.
  return several && !cost.known ? Math.min(within, fullRows) : within
}

/**
 * What of predicted caches is made exact beside `taken` decode steps: first those whose first token waits for it, then by
 * arrival. No token is delayed by more than `refineMs`, and streams stay at about half their pace or better: there the nearest whole
 * tile counts, since a part of one costs as much. A row costs `rowCost` of an exact one.
 */
export function refineShares<C extends Candidate>(
  candidates: readonly C[],
  taken: number,
  { budget, refineMs }: Policy,
  cost: PassCost,
  rowCost = 1,
  standings?: Standings,
): (Share<C> & { readonly refine: true })[] {
  const waiting = candidates.filter(({ inexact }) => inexact > 0)
  // Before any pass has run nothing is known of costs: as little is risked as can be.
  const alone = cost.estimate(taken)
  const unknown = cost.blind ? tiled(taken + blindRefined) : 0
  const within = (ms: number) => taken + Math.floor((cost.rowsWithin(alone! + ms, budget) - taken) / rowCost)
  const most = alone === undefined ? unknown : Math.min(tiled(within(refineMs)), nearestTile(within(alone)))
  // However slow passes are: twice what streams add to their caches.
  const least = tileRows * Math.ceil((taken + 2 * waiting.length) / tileRows)
  let left = taken === 0 ? budget : Math.min(budget, Math.max(least, most)) - taken
  const shares: (Share<C> & { readonly refine: true })[] = []
  waiting.sort((a, b) => a.number - b.number)
  for (const doubted of [true, false]) {
    const queue = new TurnQueue(
      waiting.filter((candidate) => candidate.doubted === doubted),
      standings,
    )
    for (let candidate = queue.next(); candidate && left > 0; candidate = queue.next()) {
      const count = Math.min(left, candidate.inexact)
      shares.push({ candidate, count, refine: true })
      queue.charge(count)
      left -= count
    }
  }
  return shares
}

function tiled(rows: number): number {
  return rows - (rows % tileRows)
}

function nearestTile(rows: number): number {
  return tiled(rows + tileRows / 2)
}

function inOrder<C extends Candidate>(candidates: readonly C[], policy: Policy, cost: PassCost): C[] {
  const perToken = (cost.estimate(policy.budget) ?? policy.budget) / policy.budget
  const key = ({ expected, arrived }: C) =>
    policy.order === 'arrival' ? arrived : expected * perToken + arrived * policy.aging
  return candidates
    .filter((candidate) => !isStep(candidate) && !isDoubted(candidate))
    .map((candidate) => ({ candidate, key: key(candidate) }))
    .sort((a, b) => a.key - b.key || a.candidate.number - b.candidate.number)
    .map(({ candidate }) => candidate)
}

function isStep({ streaming, pending }: Candidate): boolean {
  return streaming && pending === 1
}

/** Its prompt has been read, and it shows nothing yet. */
function isDoubted({ doubted, streaming }: Candidate): boolean {
  return doubted && !streaming
}
