/** Grammars that are compiled in a worker, by tenant: their answers are those of grammars compiled in place. */
import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { guideWorker } from '../../node/workers.ts'
import type { Guides } from '../../src/decode/guide.ts'
import { CellMemory } from '../../src/guide/cell.ts'
import { type Grammar, grammarOf, isCheap } from '../../src/guide/grammar.ts'
import { GrammarStore } from '../../src/guide/grammar-store.ts'
import { guidesOf } from '../../src/guide/guides.ts'
import type { InstanceVocabulary } from '../../src/guide/instance.ts'
import type { SpawnGuides, ToGuideWorker } from '../../src/guide/worker-messages.ts'
import type { Guide } from '../../src/index.ts'
import { createTokenizer } from '../../src/tokens/tokenizer.ts'
import { instantiate } from '../../wasm/dist/guide/guide.js'
import { nodeGuides } from '../../workers/node.ts'
import { smallSpec } from '../helpers/small-bpe.ts'

const wasm = new URL('../../wasm/dist/guide/', import.meta.url)
const module = new WebAssembly.Module(readFileSync(new URL('guide.wasm', wasm)))
const spec = smallSpec('')
const tokenizer = createTokenizer(spec)
const model = { vocab: tokenizer.vocabSize, tokenizer, eosIds: spec.eosIds, spec }
const opened: Guides[] = []
afterAll(() => {
  for (const guides of opened) guides.close?.()
})

/** Guides with a worker, and counts of what is compiled in it and here. */
function watched(spawn: SpawnGuides = nodeGuides(guideWorker)) {
  const count = { spawned: 0, posted: [] as string[], here: [] as string[], instances: 0 }
  const make = () => {
    count.instances++
    const real = instantiate(module)
    const compile = real.Vocabulary.prototype.compile
    real.Vocabulary.prototype.compile = function (...args: Parameters<InstanceVocabulary['compile']>) {
      count.here.push(args[1])
      return compile.apply(this, args)
    }
    return real
  }
  const counted: SpawnGuides = (listeners) => {
    count.spawned++
    const worker = spawn(listeners)
    return {
      ...worker,
      post: (message: ToGuideWorker) => {
        if (message.type === 'compile') count.posted.push(message.text)
        worker.post(message)
      },
    }
  }
  const guides = guidesOf(make, model, { spawn: counted, module, glue, deadlineMs: 60_000 })
  opened.push(guides)
  return { guides, count }
}

const object = (names: number, value: object = { type: 'string' }): Guide => ({
  kind: 'json_schema',
  compact: true,
  schema: {
    type: 'object',
    properties: Object.fromEntries(Array.from({ length: names }, (_, at) => [`name${at}`, value])),
    required: Array.from({ length: names }, (_, at) => `name${at}`),
    additionalProperties: false,
  },
})
/** Takes hundreds of milliseconds. */
const large = object(1000, { type: 'integer', minimum: 1 })
const small: Guide = { kind: 'choice', choices: ['yes', 'no'] }
/** Ends the instance that compiles it, in the worker. */
const trapping: Guide = { kind: 'regex', regex: 'trap' }
const glue = `data:text/javascript,${encodeURIComponent(`
import { instantiate as real } from '${new URL('guide.js', wasm).href}'
export function instantiate(module) {
  const instance = real(module)
  const { compile } = instance.Vocabulary.prototype
  instance.Vocabulary.prototype.compile = function (kind, text, options) {
    if (text === 'trap') throw new WebAssembly.RuntimeError('unreachable')
    return compile.call(this, kind, text, options)
  }
  return instance
}
`)}`

/** Follows an answer, and returns all masks and forced tokens. */
function followed(guides: Guides, guide: Guide, text: string, tenant?: string): string[] {
  const matcher = guides.matcher(guide, { tenant })
  const seen: string[] = []
  for (const id of tokenizer.encode(text)) {
    const mask = new Uint32Array(Math.ceil(model.vocab / 32))
    matcher.mask(mask)
    seen.push(`${mask.join()} ${matcher.forced().join()} ${matcher.stopped}`)
    matcher.accept(id)
  }
  matcher.end()
  return seen
}

describe('a worker for guides', () => {
  test('compiles large grammars, whose answers are those of one compiled here; the host goes on meanwhile', async () => {
    const { guides, count } = watched()
    let turns = 0
    const timer = setInterval(() => turns++)
    await guides.compile(large)
    clearInterval(timer)
    expect(turns).toBeGreaterThan(10)
    expect(count).toMatchObject({ spawned: 1, here: [], posted: [expect.any(String)] })
    const text = '{"name0":12,"name1":3,"name2":'
    const here = guidesOf(() => instantiate(module), model)
    const seen = followed(guides, large, text)
    expect(seen).toEqual(followed(here, large, text))
    expect(seen.join()).toContain(' ')
    expect(guides.isCompiled(large)).toBe(true)
    expect(guides.compile(large)).toBe(undefined)
    expect(count.posted).toHaveLength(1)
    // Small ones need no worker once it has brought the table of tokens.
    expect(guides.compile(small)).toBe(undefined)
    expect(count.here).toHaveLength(1)
    expect(followed(guides, small, 'ye')).toEqual(followed(here, small, 'ye'))
  })

  test('does not let one tenant find what another has compiled', async () => {
    const { guides, count } = watched()
    const guide: Guide = { kind: 'regex', regex: 'ab+c' }
    for (const tenant of ['a', 'b', 'a', '']) await guides.compile(guide, { tenant })
    expect(count.posted).toHaveLength(3)
    expect(guides.isCompiled(guide, { tenant: 'c' })).toBe(false)
    await guides.compile(trapping, { tenant: 'a' })?.catch(() => {})
    expect(guides.isCompiled(trapping, { tenant: 'a' })).toBe(true)
    expect(guides.isCompiled(trapping, { tenant: 'b' })).toBe(false)
  })

  test('meets the grammars that end an instance: those here go on, and it is refused from then on', async () => {
    const { guides, count } = watched()
    await guides.compile(small)
    const answer = guides.matcher(small)
    answer.accept(tokenizer.encode('y')[0] ?? 0)
    const { instances } = count
    expect(instances).toBe(1)
    await expect(guides.compile(trapping)).rejects.toMatchObject({
      code: 'bad_argument',
      message: expect.stringMatching(/too much/),
    })
    expect(() => guides.compile(trapping)).toThrow(/too much/)
    expect(() => guides.matcher(trapping)).toThrow(/too much/)
    expect(count).toMatchObject({ instances, here: [expect.any(String)] })
    expect(answer.stopped).toBe(false)
    await expect(guides.compile({ kind: 'regex', regex: '(' })).rejects.toMatchObject({ code: 'bad_argument' })
    await guides.compile({ kind: 'regex', regex: 'b' })
  })

  test('that cannot start leaves the work to this thread', async () => {
    const refusing = watched(() => {
      throw new Error('no workers here')
    })
    await refusing.guides.compile(large)
    expect(refusing.count.here).toHaveLength(1)
    const dying = watched(nodeGuides(new URL('data:text/javascript,throw new Error("old")')))
    await dying.guides.compile(small)
    expect(dying.count.here).toHaveLength(1)
    expect(dying.guides.compile(large)).toBe(undefined)
  })

  test('ends with the signal of a guide, and with the guides', async () => {
    const { guides } = watched()
    const control = new AbortController()
    const compiling = guides.compile(large, { signal: control.signal })
    control.abort()
    await expect(compiling).rejects.toMatchObject({ code: 'aborted' })
    const waiting = [guides.compile(large), guides.compile(large, { tenant: 'b' })]
    guides.close?.()
    for (const one of waiting) await expect(one).rejects.toMatchObject({ code: 'aborted' })
  })

  test('answers go on when their grammar is dropped for others', async () => {
    const { guides } = watched()
    await guides.compile(large)
    const answer = guides.matcher(large)
    for (let n = 0; n < 70; n++) await guides.compile({ kind: 'json_object', compact: n % 2 > 0 }, { tenant: `t${n}` })
    expect(guides.isCompiled(large)).toBe(false)
    expect(tokenizer.encode('{"name0":').slice(0, 1)).toEqual(answer.forced().slice(0, 1))
    answer.end()
    answer.end()
  })
})

describe('compiled grammars', () => {
  const grammar = (tenant: string, name: string): Grammar => grammarOf({ kind: 'regex', regex: name }, tenant)

  test('are kept by tenant: one that floods drops its own', () => {
    const dropped: string[] = []
    const store = new GrammarStore<string>({ grammars: 8, ofTenant: 6, text: 1e6 }, (value) => dropped.push(value))
    store.add(grammar('calm', 'x'), 'calm x')
    store.add(grammar('calm', 'y'), 'calm y')
    for (let n = 0; n < 20; n++) store.add(grammar('flood', `f${n}`), `f${n}`)
    expect(store.has(grammar('calm', 'x')) && store.has(grammar('calm', 'y'))).toBe(true)
    expect(dropped).toHaveLength(14)
    expect(store.use(grammar('flood', 'f19'))).toBe('f19')
    expect(store.use(grammar('calm', 'f19'))).toBe(undefined)
  })

  test('of many tenants stay within the bounds', () => {
    let held = 0
    const store = new GrammarStore<number>({ grammars: 10, ofTenant: 4, text: 200 }, () => held--)
    for (let n = 0; n < 200; n++) {
      store.add(grammar(`t${(n * 7) % 23}`, `r${n}`), n)
      held++
      expect(held).toBeLessThanOrEqual(10)
    }
    store.add(grammar('big', 'x'.repeat(500)), 0)
    held++
    expect(held).toBe(1)
  })

  test('with instances of their own share a bounded memory', () => {
    const memory = new CellMemory()
    const mib = 1 << 20
    expect(memory.fits('a', 400 * mib)).toBe(true)
    const back = [memory.take('a', 100 * mib)]
    expect(memory.fits('a', 28 * mib)).toBe(true)
    expect(memory.fits('a', 29 * mib)).toBe(false)
    expect(memory.fits('b', 156 * mib)).toBe(true)
    expect(memory.fits('b', 157 * mib)).toBe(false)
    for (const one of [...back, ...back]) one()
    expect(memory.fits('b', 400 * mib)).toBe(true)
  })

  test('are cheap only if nothing in them can cost more than its length', () => {
    const cheap = (guide: Guide) => isCheap(grammarOf(guide))
    expect([small, { kind: 'json_object' } as const, object(4)].map(cheap)).toEqual([true, true, true])
    const costly: Guide[] = [
      object(100),
      { kind: 'regex', regex: 'a' },
      { kind: 'lark', grammar: 'start: "a"' },
      { kind: 'json_schema', schema: { allOf: [{ type: 'object' }] } },
      { kind: 'json_schema', schema: '{"\\u0061llOf": []}' },
      { kind: 'choice', choices: ['x'.repeat(2000)] },
    ]
    expect(costly.map(cheap)).toEqual(costly.map(() => false))
  })
})
