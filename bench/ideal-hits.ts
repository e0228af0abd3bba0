/** Computes what a prefix cache could find at best, when prompts come one after another. */
import { defined } from '../src/base/at.ts'
import { ForetokenError } from '../src/base/errors.ts'

export interface IdealHits {
  /** Total number of prompt tokens. */
  readonly tokens: number
  /** Tokens found with unlimited memory. */
  readonly unlimited: number
  /** Tokens found under the bound when the future is known. */
  readonly best: number
  /** Tokens found under the bound when the least recently used page is dropped. */
  readonly lru: number
}

interface Node {
  readonly parent: Node | undefined
  readonly children: Map<string, Node>
  /** Indices of the prompts whose whole pages pass through here, the last first. */
  readonly uses: number[]
  held: boolean
  heldChildren: number
  lastUse: number
}

/**
 * Simulates a cache over prompts in order. Pages of `pageTokens` are found by whole prefixes, at
 * most all but the last token, and every whole page of a prompt is kept. Under `maxPages`, a page
 * can be held only while its parent is. `best` drops the leaf whose next use is farthest ahead
 * (Belady's rule), or does not admit it at all. The rule is optimal for single pages. In a tree
 * whose leaves must go first it is a very good guess, not a proof.
 */
export function idealHits(prompts: readonly (readonly number[])[], pageTokens: number, maxPages: number): IdealHits {
  const paths = treeOf(prompts, pageTokens)
  const unlimited = found(paths, prompts, pageTokens, Infinity, () => 0)
  const lru = found(paths, prompts, pageTokens, maxPages, (node) => -node.lastUse)
  const best = found(paths, prompts, pageTokens, maxPages, (node, now) => nextUse(node, now))
  return { tokens: prompts.reduce((sum, { length }) => sum + length, 0), unlimited, best: Math.max(best, lru), lru }
}

function treeOf(prompts: readonly (readonly number[])[], pageTokens: number): Node[][] {
  const root = create(undefined)
  const paths = prompts.map((ids) => {
    const path: Node[] = []
    let node = root
    for (let at = 0; at + pageTokens <= ids.length; at += pageTokens) {
      const edge = ids.slice(at, at + pageTokens).join(' ')
      let next = node.children.get(edge)
      if (!next) node.children.set(edge, (next = create(node)))
      path.push((node = next))
    }
    return path
  })
  for (let index = paths.length - 1; index >= 0; index--)
    for (const node of defined(paths[index])) node.uses.push(index)
  return paths
}

function create(parent: Node | undefined): Node {
  return { parent, children: new Map(), uses: [], held: false, heldChildren: 0, lastUse: -1 }
}

/** Runs the cache; the leaf with the highest `badness` goes first. */
function found(
  paths: readonly Node[][],
  prompts: readonly (readonly number[])[],
  pageTokens: number,
  maxPages: number,
  badness: (node: Node, now: number) => number,
): number {
  const held = new Set<Node>()
  for (const path of paths) for (const node of path) Object.assign(node, { held: false, heldChildren: 0, lastUse: -1 })
  let hits = 0
  paths.forEach((path, now) => {
    const usable = Math.floor((defined(prompts[now]).length - 1) / pageTokens)
    let known = 0
    while (known < path.length && defined(path[known]).held) known++
    hits += Math.min(known, usable) * pageTokens
    // The deepest node counts as used first, so that leaves are the oldest of their path.
    path.forEach((node, depth) => {
      node.lastUse = now + 1 - depth / (path.length + 1)
    })
    for (const node of path.slice(known)) {
      node.held = true
      held.add(node)
      if (node.parent) node.parent.heldChildren++
    }
    while (held.size > maxPages) {
      let worst: Node | undefined
      let worstBadness = -Infinity
      for (const node of held) {
        if (node.heldChildren > 0) continue
        const bad = badness(node, now)
        if (bad > worstBadness) [worst, worstBadness] = [node, bad]
      }
      if (!worst) throw new ForetokenError('internal', 'every held page has a child that is held')
      worst.held = false
      held.delete(worst)
      if (worst.parent) worst.parent.heldChildren--
    }
  })
  return hits
}

function nextUse(node: Node, now: number): number {
  while (node.uses.length > 0 && defined(node.uses.at(-1)) <= now) node.uses.pop()
  return node.uses.at(-1) ?? Infinity
}
