/** Checks the normalizer of a tokenizer.json, and how much it may lengthen a text. */

import { isObject, type Json, show } from '../model/json.ts'
import { bad, checkedPattern, linearForm, type MoreTokenizers, type Steps, step, unsupported } from './checked-steps.ts'

/**
 * Factor by which normalizing may lengthen a text. Compatibility forms (NFKC) need 18, all others
 * much less.
 */
const maxGrowth = 64
/** Most characters that may be prepended to a text, as `▁` is. */
const maxPrepended = 64

/** Returns the normalizer in the form that the library can take. Throws as `checkedSpec`. */
export function checkedNormalizer(normalizer: unknown, steps: Steps, more?: MoreTokenizers): Json | null {
  const growth = { times: 1, more: 0 }
  const checked = normalizerOf(normalizer ?? null, steps, growth, more)
  checkGrowth(growth)
  return checked
}

function checkGrowth({ times }: Growth): void {
  if (times > maxGrowth)
    throw unsupported(`its normalizer may make a text ${times} times as long; at most ${maxGrowth} times is allowed`)
}

/** The library would write a sigma at the end of a word in its other form; the reference looks at each letter alone. */
export const lowercase = sequence([replace({ String: 'Σ' }, 'σ'), { type: 'Lowercase' }])

/** White space is Unicode's; the library would strip JavaScript's. */
function strip({ strip_left: left, strip_right: right }: Json): Json {
  const spaces = '\\p{White_Space}'
  return sequence([
    ...(left ? [replace({ Regex: `\\A${spaces}+` }, '')] : []),
    ...(right ? [replace({ Regex: `(?<!${spaces})${spaces}+\\z` }, '')] : []),
  ])
}

export function sequence(normalizers: readonly Json[]): Json {
  return { type: 'Sequence', normalizers }
}

export function replace(pattern: Json, content: string): Json {
  return { type: 'Replace', pattern, content }
}

/** A text of n characters may grow to `times` n + `more`. */
interface Growth {
  times: number
  more: number
}

function normalizerOf(value: unknown, steps: Steps, growth: Growth, more: MoreTokenizers | undefined): Json | null {
  if (value === null) return null
  if (!isObject(value)) throw bad(`a normalizer is ${show(value)}, not an object`)
  step(steps)
  switch (value.type) {
    case 'Sequence': {
      const { normalizers } = value
      if (!Array.isArray(normalizers)) throw bad(`normalizers is ${show(normalizers)}, not a list`)
      return { ...value, normalizers: normalizers.map((each: unknown) => normalizerOf(each, steps, growth, more)) }
    }
    case 'NFC':
    case 'NFD':
      growth.times *= 3
      return value
    case 'Lowercase':
      growth.times *= 3
      return lowercase
    case 'NFKC':
    case 'NFKD':
      growth.times *= 18
      return value
    case 'StripAccents':
      return value
    case 'Strip':
      return strip(value)
    case 'Prepend': {
      const { prepend } = value
      if (typeof prepend !== 'string') throw bad(`Prepend has ${show(prepend)}, not a text`)
      growth.more += prepend.length
      if (growth.more > maxPrepended)
        throw bad(`it puts ${growth.more} characters before a text; at most ${maxPrepended} are read`)
      return value
    }
    case 'Replace': {
      const { content } = value
      if (typeof content !== 'string') throw bad(`Replace has ${show(content)} for content, not a text`)
      const pattern = linearForm(value.pattern)
      const least = checkedPattern(pattern, 'Replace')
      growth.times *= least === 0 ? 1 + content.length : Math.max(1, content.length / least)
      // The library would interpret `$&` and similar, which are literal here.
      return { ...value, pattern, content: content.replaceAll('$', '$$$$') }
    }
    default: {
      const found = more?.normalizer(value)
      if (found) {
        checkGrowth(growth)
        growth.times = Math.min(growth.times * found.times, found.most ?? Infinity)
        return found.json
      }
      throw unsupported(`its normalizer ${show(value.type)} is not known`)
    }
  }
}
