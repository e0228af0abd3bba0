/** Finds stop strings in a streamed text, wherever token boundaries fall. */
import { defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'

const mostStops = 16
const longestStop = 1024

/** Matches the stop strings of one answer. */
export interface StopMatcher {
  /**
   * Feeds the next text. The returned `text` may be shown now; once `stopped` is true, nothing more
   * will be.
   */
  push(text: string): { readonly text: string; readonly stopped: boolean }
  /** The stop string that ended the text; undefined while none has. */
  readonly found: string | undefined
  /** Returns the text that is still held back, at the end of an answer that was not stopped. */
  flush(): string
}

/**
 * Creates a matcher that ends a text before the stop string that is complete first (the longest of
 * those that end together). It holds back only what could be the beginning of a stop string. Each
 * string has a Knuth-Morris-Pratt automaton, whose state is how much of the string the text ends
 * with. Throws `bad_argument` for more than 16 strings, or for one that is empty, longer than 1,024
 * UTF-16 units, or malformed UTF-16.
 */
export function createStopMatcher(stops: readonly string[]): StopMatcher {
  if (!Array.isArray(stops) || stops.length > mostStops)
    throw new ForetokenError('bad_argument', `${stops.length} stop strings; give a list of at most ${mostStops}`)
  const automata = stops.map((stop) => ({ stop: checked(stop), back: borders(stop), state: 0 }))
  let held = ''
  let stopped = false
  let found: string | undefined

  return {
    get found() {
      return found
    },
    push(text) {
      if (stopped) return { text: '', stopped }
      const all = held + text
      for (let end = held.length; end < all.length; end++) {
        let matched = 0
        for (const automaton of automata) {
          advance(automaton, all.charAt(end))
          if (automaton.state === automaton.stop.length) matched = Math.max(matched, automaton.state)
        }
        if (matched === 0) continue
        stopped = true
        found = all.slice(end + 1 - matched, end + 1)
        held = ''
        return { text: all.slice(0, end + 1 - matched), stopped }
      }
      const hold = automata.reduce((most, { state }) => Math.max(most, state), 0)
      held = all.slice(all.length - hold)
      return { text: all.slice(0, all.length - hold), stopped }
    },
    flush() {
      const rest = held
      held = ''
      for (const automaton of automata) automaton.state = 0
      return rest
    },
  }
}

interface Automaton {
  readonly stop: string
  readonly back: readonly number[]
  /** Length of the longest prefix of `stop` that the text ends with. */
  state: number
}

function advance(automaton: Automaton, unit: string): void {
  const { stop, back } = automaton
  let state = automaton.state
  while (state > 0 && stop[state] !== unit) state = defined(back[state])
  automaton.state = stop[state] === unit ? state + 1 : 0
}

/**
 * Returns for each n the length of the longest proper prefix of the first n units that is also
 * their suffix.
 */
function borders(stop: string): number[] {
  const back = [0, 0]
  for (let n = 1, length = 0; n < stop.length; n++) {
    while (length > 0 && stop[n] !== stop[length]) length = defined(back[length])
    if (stop[n] === stop[length]) length++
    back.push(length)
  }
  return back
}

function checked(stop: string): string {
  if (typeof stop === 'string' && stop.length > 0 && stop.length <= longestStop && stop.isWellFormed()) return stop
  const what = typeof stop === 'string' ? `${JSON.stringify(stop.slice(0, 40))}, ${stop.length} long` : typeof stop
  throw new ForetokenError(
    'bad_argument',
    `a stop string is ${what}; give whole text of 1 to ${longestStop} UTF-16 units`,
  )
}
