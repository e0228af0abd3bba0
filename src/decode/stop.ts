/** Stop strings, found wherever token boundaries fall. */
import { ForetokenError } from '../base/errors.ts'

const mostStops = 16
const longestStop = 1024

export interface StopMatcher {
  /** Takes the next text. `text` may be shown now; once `stopped`, nothing more will be. */
  push(text: string): { readonly text: string; readonly stopped: boolean }
  /** The text held back at the end of an answer that was not stopped. */
  flush(): string
}

/**
 * Ends a text before the stop string that is complete first (the longest of those that end together). Holds back only
 * what could be the beginning of one. One Knuth-Morris-Pratt automaton a string: its state is how much of it the text
 * ends with. Throws `bad_argument` for more than 16 strings, or one that is empty, over 1,024 long or broken UTF-16.
 */
export function createStopMatcher(stops: readonly string[]): StopMatcher {
  if (!Array.isArray(stops) || stops.length > mostStops)
    throw new ForetokenError('bad_argument', `${stops.length} stop strings; give a list of at most ${mostStops}`)
  const automata = stops.map((stop) => ({ stop: checked(stop), back: borders(stop), state: 0 }))
  let held = ''
  let stopped = false

  return {
    push(text) {
      if (stopped) return { text: '', stopped }
      const all = held + text
      for (let at = held.length; at < all.length; at++) {
        let matched = 0
        for (const automaton of automata) {
          advance(automaton, all[at]!)
          if (automaton.state === automaton.stop.length) matched = Math.max(matched, automaton.state)
        }
        if (matched === 0) continue
        stopped = true
        held = ''
        return { text: all.slice(0, at + 1 - matched), stopped }
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
  while (state > 0 && stop[state] !== unit) state = back[state]!
  automaton.state = stop[state] === unit ? state + 1 : 0
}

/** borders[n] = length of the longest proper prefix of the first n units that is also their suffix. */
function borders(stop: string): number[] {
  const back = [0, 0]
  for (let n = 1, length = 0; n < stop.length; n++) {
    while (length > 0 && stop[n] !== stop[length]) length = back[length]!
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
