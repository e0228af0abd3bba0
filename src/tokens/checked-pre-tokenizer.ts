/** Checks the pre-tokenizer of a tokenizer.json. */

import { isWhole } from '../base/numbers.ts'
import { isObject, type Json, show } from '../model/json.ts'
import { bad, checkedPattern, linearForm, type Steps, step, unsupported } from './checked-steps.ts'

/** Returns the pre-tokenizer in the form that the library can take. Throws as `checkedSpec`. */
export function checkedPreTokenizer(value: unknown, steps: Steps): Json | null {
  const counted = new Map<unknown, number>()
  return preTokenizerOf(value ?? null, steps, counted)
}

/** Types without settings, or without settings that affect cost. */
const plainTypes = ['Digits', 'Punctuation', 'Whitespace', 'WhitespaceSplit', 'BertPreTokenizer']
/** Types that lengthen a text: by letters for bytes, or by a mark before each word. */
const growingTypes = ['ByteLevel', 'Metaspace']

function preTokenizerOf(value: unknown, steps: Steps, counted: Map<unknown, number>): Json | null {
  if (value === null) return null
  if (!isObject(value)) throw bad(`a pre-tokenizer is ${show(value)}, not an object`)
  step(steps)
  const { type } = value
  if (type === 'Sequence') {
    const { pretokenizers } = value
    if (!Array.isArray(pretokenizers)) throw bad(`pretokenizers is ${show(pretokenizers)}, not a list`)
    return { ...value, pretokenizers: pretokenizers.map((each: unknown) => preTokenizerOf(each, steps, counted)) }
  }
  if (growingTypes.includes(type as string)) {
    const count = (counted.get(type) ?? 0) + 1
    counted.set(type, count)
    if (count > 1) throw unsupported(`its pre-tokenizer has ${type} twice`)
    const { replacement = '▁', str_rep: written = '▁' } = value
    for (const text of [replacement, written])
      if (typeof text !== 'string' || [...text].length !== 1)
        throw bad(`Metaspace has ${show(text)}, not one character`)
    const { prepend_scheme: scheme = 'always', split = true } = value
    if (!['always', 'first', 'never'].includes(scheme as string) || typeof split !== 'boolean')
      throw bad(`Metaspace has the prepend_scheme ${show(scheme)} and split ${show(split)}`)
    return value
  }
  if (type === 'Split') {
    const pattern = linearForm(value.pattern)
    checkedPattern(pattern, 'Split')
    if (typeof (value.invert ?? false) !== 'boolean') throw bad(`invert is ${show(value.invert)}, not true or false`)
    return { ...value, pattern, invert: value.invert ?? false }
  }
  if (type === 'FixedLength') {
    if (!isWhole(value.length, 1)) throw bad(`FixedLength has the length ${show(value.length)}`)
    return value
  }
  if (plainTypes.includes(type as string)) return value
  if (type === 'CharDelimiterSplit' && typeof value.delimiter === 'string' && [...value.delimiter].length === 1)
    return { type: 'Split', pattern: { String: value.delimiter }, behavior: 'Removed', invert: false }
  throw unsupported(`its pre-tokenizer ${show(type)} is not known`)
}
