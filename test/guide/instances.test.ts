/** The life of the grammar engine's instances: grammars are kept within bounds, and answers survive a trap. */
import { readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { guidesOf } from '../../src/guide/guides.ts'
import type { GuideInstance, InstanceGrammar, InstanceMatcher, InstanceVocabulary } from '../../src/guide/instance.ts'
import type { Guide } from '../../src/index.ts'
import { instantiate } from '../../wasm/dist/guide/guide.js'

const module = new WebAssembly.Module(readFileSync(new URL('../../wasm/dist/guide/guide.wasm', import.meta.url)))
const model = {
  vocab: 257,
  eosIds: [256],
  tokenizer: {
    vocabSize: 257,
    tokenBytes: (id: number) => (id < 256 ? Uint8Array.of(id) : new TextEncoder().encode('<end>')),
    isSpecial: (id: number) => id === 256,
    encode: (text: string) => [...Buffer.from(text)],
  },
}

/** Counts what instances do, and traps where `traps` says so. */
function watched(
  traps: (call: 'compile' | 'mask' | 'commit', text: string) => boolean = () => false,
  starts = () => {},
) {
  const count = { instances: 0, compiled: 0, freed: 0 }
  const trap = () => {
    throw new WebAssembly.RuntimeError('unreachable')
  }
  const make = (): GuideInstance => {
    starts()
    count.instances++
    const real = instantiate(module)
    let dead = false
    const check = (call: 'compile' | 'mask' | 'commit', text: string) => {
      if (dead) throw new Error('an object of a dead instance was used')
      if (!traps(call, text)) return
      dead = true
      trap()
    }
    class Vocabulary implements InstanceVocabulary {
      readonly #inner: InstanceVocabulary
      constructor(...args: ConstructorParameters<GuideInstance['Vocabulary']>) {
        this.#inner = new real.Vocabulary(...args)
      }
      get tokens() {
        return this.#inner.tokens
      }
      compile(kind: 'regex', text: string): InstanceGrammar {
        check('compile', text)
        count.compiled++
        const grammar = this.#inner.compile(kind, text)
        return {
          matcher: (): InstanceMatcher => {
            const matcher = grammar.matcher()
            return {
              mask: (into) => {
                check('mask', text)
                return matcher.mask(into)
              },
              commit: (id) => {
                check('commit', text)
                matcher.commit(id)
              },
              forced: () => matcher.forced(),
              isStopped: () => matcher.isStopped(),
              free: () => {
                if (dead) throw new Error('an object of a dead instance was freed')
                matcher.free()
              },
            }
          },
          free: () => {
            count.freed++
            grammar.free()
          },
        }
      }
    }
    return { Vocabulary }
  }
  return { guides: guidesOf(make, model), count }
}

const regex = (text: string): Guide => ({ kind: 'regex', regex: text })
const mask = () => new Uint32Array(Math.ceil(257 / 32))

describe('grammars', () => {
  test('are compiled once, and the ones used longest ago are dropped beyond a number and a size', () => {
    const { guides, count } = watched()
    for (let n = 0; n < 100; n++) for (const text of ['ab', 'cd']) guides.compile(regex(text))
    expect(count).toMatchObject({ instances: 1, compiled: 2, freed: 0 })
    const held = guides.matcher(regex('ab'))
    held.mask(mask())
    for (let n = 0; n < 40; n++) guides.compile(regex(`x${n}`))
    expect(count.compiled - count.freed).toBeLessThanOrEqual(32)
    held.accept(97)
    expect(held.forced()).toEqual([98])
    for (let n = 0; n < 8; n++)
      guides.compile({ kind: 'choice', choices: [String(n).repeat(20), ' '.repeat(200_000 + n)] })
    expect(count.compiled - count.freed).toBeLessThanOrEqual(6)
  })
})

describe('an instance that traps', () => {
  test('is replaced, and every answer goes on in the new one', () => {
    let at = 0
    const { guides, count } = watched((call) => call === 'mask' && ++at === 3)
    const [one, two] = [guides.matcher(regex('abc*d')), guides.matcher(regex('xyz'))]
    one.mask(mask())
    two.mask(mask())
    for (const id of [97, 98]) one.accept(id)
    two.accept(120)
    // The third mask traps.
    const bits = mask()
    expect(one.mask(bits)).toBe(true)
    expect(count.instances).toBe(2)
    expect([99, 100, 101].map((id) => (bits[id >>> 5]! >>> (id & 31)) & 1)).toEqual([1, 1, 0])
    expect(two.forced()).toEqual([121, 122])
    for (const id of [121, 122]) two.accept(id)
    expect(two.stopped).toBe(true)
    one.end()
    two.end()
    expect(count.instances).toBe(2)
  })

  test('because of one grammar refuses that grammar from then on, and no other', () => {
    const { guides, count } = watched((call, text) => call === 'compile' && text === 'bad')
    // Nothing is tried twice: a compile does the same in each instance.
    for (let n = 0; n < 5; n++)
      expect(() => guides.compile(regex('bad'))).toThrow(
        expect.objectContaining({ code: 'bad_argument', message: expect.stringMatching(/too much/) }),
      )
    expect(count.instances).toBe(1)
    guides.compile(regex('good'))
    expect(count.instances).toBe(2)
    const answer = guides.matcher(regex('good'))
    expect(answer.mask(mask())).toBe(true)
  })

  test('right after it replaced another is replaced, too', () => {
    let masks = 0
    const { guides, count } = watched((call, text) => text === 'bad' || (call === 'mask' && ++masks === 1))
    const answer = guides.matcher(regex('good'))
    expect(() => guides.compile(regex('bad'))).toThrow(/too much/)
    expect(answer.mask(mask())).toBe(true)
    expect(count.instances).toBe(3)
  })

  test('in the middle of an answer, again and again, fails that answer only', () => {
    const { guides } = watched((call, text) => call === 'commit' && text === 'bad')
    const [bad, good] = [guides.matcher(regex('bad')), guides.matcher(regex('good'))]
    good.accept(103)
    expect(() => bad.accept(98)).toThrow(expect.objectContaining({ code: 'bad_argument' }))
    bad.end()
    expect(good.forced()).toEqual([111, 111, 100])
  })
})

test('an instance that was dropped is garbage while its answers live', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const made: WeakRef<object>[] = []
  const make = (): GuideInstance => {
    const real = instantiate(module)
    class Vocabulary extends real.Vocabulary {
      constructor(...args: ConstructorParameters<GuideInstance['Vocabulary']>) {
        super(...args)
        made.push(new WeakRef(this))
      }
      override compile(...args: Parameters<InstanceVocabulary['compile']>) {
        if (args[1] === 'bad') throw new WebAssembly.RuntimeError('unreachable')
        const grammar = super.compile(...args)
        const matcher = grammar.matcher.bind(grammar)
        grammar.matcher = () => {
          const inner = matcher()
          made.push(new WeakRef(inner))
          return inner
        }
        return grammar
      }
    }
    return { Vocabulary }
  }
  const guides = guidesOf(make, model)
  const answer = guides.matcher(regex('abc'))
  answer.accept(97)
  expect(() => guides.compile(regex('bad'))).toThrow(/too much/)
  expect(made).toHaveLength(2)
  for (let n = 0; n < 10 && made.some((one) => one.deref()); n++) {
    await new Promise((resolve) => setTimeout(resolve))
    collect()
  }
  expect(made.filter((one) => one.deref())).toEqual([])
  expect(answer.forced()).toEqual([98, 99])
})

test('an instance that cannot be made is no fault of the grammar', () => {
  let fails: Error | undefined
  const { guides } = watched(
    (call, text) => call === 'compile' && text === 'bad',
    () => {
      if (fails) throw fails
    },
  )
  guides.compile(regex('good'))
  expect(() => guides.compile(regex('bad'))).toThrow(/too much/)
  for (const [error, code] of [
    [new RangeError('WebAssembly.Instance(): Out of memory: Cannot allocate Wasm memory'), 'out_of_memory'],
    [new WebAssembly.RuntimeError('unreachable'), 'internal'],
  ] as const) {
    fails = error
    for (let n = 0; n < 3; n++) expect(() => guides.matcher(regex('good'))).toThrow(expect.objectContaining({ code }))
  }
  fails = undefined
  expect(guides.matcher(regex('good')).mask(mask())).toBe(true)
})

test('a model without ends gets one that is never drawn, and answers end where the grammar does', () => {
  for (const vocab of [256, 257]) {
    const guides = guidesOf(() => instantiate(module), { ...model, vocab, eosIds: [] })
    const answer = guides.matcher(regex('a{1,2}'))
    const bits = new Uint32Array(Math.ceil(vocab / 32))
    expect(answer.mask(bits)).toBe(true)
    for (const stopped of [false, true]) {
      answer.accept(97)
      expect(answer.stopped).toBe(stopped)
    }
  }
})
