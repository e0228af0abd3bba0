import { describe, expect, test } from 'vitest'
import { createStopMatcher } from '../../src/decode/stop.ts'
import fc from '../helpers/properties.ts'

/** Returns what a matcher shows of `text` pushed in pieces. */
function run(stops: string[], pieces: string[]) {
  const matcher = createStopMatcher(stops)
  let text = ''
  let stopped = false
  for (const piece of pieces) {
    const shown = matcher.push(piece)
    text += shown.text
    stopped = shown.stopped
  }
  return { text: text + matcher.flush(), stopped, found: matcher.found }
}

/** Implements the definition: the stop string that ends first, and the longest of those. */
function naive(stops: string[], text: string) {
  for (let end = 1; end <= text.length; end++) {
    const found = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)[0]
    if (found) return { text: text.slice(0, end - found.length), stopped: true, found }
  }
  return { text, stopped: false, found: undefined }
}

describe('stop strings', () => {
  test('are found across pieces and not shown', () => {
    expect(run(['\n\nUser:'], ['Hello.', '\n', '\nUs', 'er: hi'])).toEqual({
      text: 'Hello.',
      stopped: true,
      found: '\n\nUser:',
    })
  })

  test('hold back only text that may begin one', () => {
    const matcher = createStopMatcher(['abac'])
    expect(matcher.push('xab')).toEqual({ text: 'x', stopped: false })
    expect(matcher.push('a')).toEqual({ text: '', stopped: false })
    expect(matcher.push('b')).toEqual({ text: 'ab', stopped: false })
    expect(matcher.push('q')).toEqual({ text: 'abq', stopped: false })
    expect(matcher.push('aba')).toEqual({ text: '', stopped: false })
    expect(matcher.flush()).toBe('aba')
  })

  test('nothing is shown after a stop', () => {
    const matcher = createStopMatcher(['.'])
    expect(matcher.push('a.b')).toEqual({ text: 'a', stopped: true })
    expect(matcher.push('c')).toEqual({ text: '', stopped: true })
    expect(matcher.flush()).toBe('')
  })

  test('without any, text passes through', () => {
    expect(createStopMatcher([]).push('anything')).toEqual({ text: 'anything', stopped: false })
  })

  test('agree with their definition for any split', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', 'é', '😀'), minLength: 1, maxLength: 5 })
    const pieces = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'é', '😀'), maxLength: 4 }), { maxLength: 20 })
    fc.assert(
      fc.property(fc.array(word, { maxLength: 4 }), pieces, (stops, parts) => {
        expect(run(stops, parts)).toEqual(naive(stops, parts.join('')))
      }),
      { numRuns: 1000 },
    )
  })

  test.each([
    ['an empty string', ['']],
    ['too many', Array.from({ length: 17 }, (_, i) => `stop ${i}`)],
    ['one too long', ['x'.repeat(1025)]],
    ['half a character', ['\ud83d']],
    ['a number', [5 as unknown as string]],
    ['no list', 'stop' as unknown as string[]],
  ])('%s is refused', (_, stops) => {
    expect(() => createStopMatcher(stops)).toThrow(expect.objectContaining({ code: 'bad_argument' }))
  })
})
