/**
 * Measures how deep the references of a grammar lead. The engine follows them by recursion, and more
 * than some 500 of them end its instance, which all guides of a model share.
 */
import { ForetokenError } from '../base/errors.ts'

/** Most levels of references and of what is nested between them. */
export const deepestChain = 128

/** What one definition leads to. */
export interface Links<K> {
  /** Levels that the definition has without its links. */
  readonly least: number
  readonly to: readonly (readonly [target: K, levels: number])[]
}

/** The deepest chain of a grammar. */
export interface Chain<K> {
  readonly levels: number
  /** The first definition found whose own chain exceeds `deepestChain`; undefined if none does. */
  readonly at: K | undefined
}

interface Frame<K> {
  readonly key: K
  readonly links: Links<K>
  next: number
  levels: number
}

/** Measures the chains that start at `roots`. A link back to a definition that is being followed ends a chain. */
export function chainOf<K>(roots: Iterable<K>, linksOf: (key: K) => Links<K>): Chain<K> {
  const done = new Map<K, number>()
  const open = new Set<K>()
  let longest = 0
  let at: K | undefined
  // A stack of our own: the depth is the caller's.
  const frames: Frame<K>[] = []
  const enter = (key: K) => {
    const links = linksOf(key)
    open.add(key)
    frames.push({ key, links, next: 0, levels: links.least })
  }
  for (const root of roots) {
    if (!done.has(root)) enter(root)
    for (let frame = frames.at(-1); frame; frame = frames.at(-1)) {
      const link = frame.links.to[frame.next]
      if (!link) {
        frames.pop()
        open.delete(frame.key)
        done.set(frame.key, frame.levels)
        longest = Math.max(longest, frame.levels)
        if (frame.levels > deepestChain) at ??= frame.key
        continue
      }
      const [target, levels] = link
      const known = done.get(target)
      if (known === undefined && !open.has(target)) {
        // The link is read again when its target is done.
        enter(target)
        continue
      }
      frame.levels = Math.max(frame.levels, levels + (known ?? 0))
      frame.next++
    }
  }
  return { levels: longest, at }
}

/** Returns the failure of a chain that is too deep; `where` names the definition. */
export function tooDeep(kind: string, where: string, levels: number): ForetokenError {
  return new ForetokenError(
    'bad_argument',
    `the guide (${kind}) at ${where.slice(0, 400)}: references lead ${levels} levels deep; they may lead ${deepestChain}`,
  )
}
