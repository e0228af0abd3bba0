/**
 * A model whose next token is a pure function of all tokens before it, which it reads back from KV pages: a page that is
 * shared, freed or written wrongly makes a wrong token.
 */
import type { Shortlist } from '../../src/backend/backend.ts'
import { normalize, topIds } from '../../src/decode/logprobs.ts'
import type { PassModel } from '../../src/decode/scheduler.ts'
import { ForetokenError } from '../../src/errors.ts'
import { type KvPool, type ModelConfig, type Pass, pageTokens } from '../../src/types.ts'

export const fakeVocab = 61

export function fakePool(): KvPool {
  let [pages, next] = [0, 0]
  const free: number[] = []
  return {
    type: 'f32',
    layers: 1,
    kvHeads: 1,
    headDim: 8,
    pageBytes: 1024,
    get pages() {
      return pages
    },
    add(more: number) {
      const added = free.splice(0, more)
      while (added.length < more) added.push(next++)
      pages += more
      return added
    },
    remove(some: readonly number[]) {
      pages -= some.length
      free.push(...some)
    },
    readPage: async () => new Uint8Array(1024),
    writePage: () => {},
  }
}

/** A pool in a memory of `most` pages. */
export function limitedPool(most: number): KvPool & { most: number } {
  const pool = fakePool()
  const { add } = pool
  return Object.assign(pool, {
    most,
    add(pages: number) {
      const fitting = Math.min(pages, this.most - pool.pages)
      if (fitting <= 0) throw new ForetokenError('out_of_memory', 'no more')
      return add(fitting)
    },
  })
}

/** FNV-1a over the tokens. */
export function nextToken(ids: readonly number[]): number {
  let hash = 0x811c9dc5
  for (const id of ids) hash = Math.imul(hash ^ (id + 1), 0x01000193) >>> 0
  return (hash >>> 8) % fakeVocab
}

/** What a request gets alone: until token 0 or `most`. */
export function answerAlone(prompt: readonly number[], most: number): number[] {
  const all = [...prompt]
  while (all.length - prompt.length < most) {
    const id = nextToken(all)
    all.push(id)
    if (id === 0) break
  }
  return all.slice(prompt.length)
}

export class FakeModel implements PassModel {
  readonly passTokens: number
  readonly config = { vocab: fakeVocab } as ModelConfig
  /** Called with each pass before it runs. */
  onPass: (pass: Pass) => void = () => {}
  /** How many of the best logits were asked for, pass by pass; all: Infinity. */
  readonly asked: number[] = []
  readonly longestShortlist: number | undefined
  readonly #pages = new Map<number, number[]>()

  constructor(passTokens: number, longestShortlist?: number) {
    this.passTokens = passTokens
    this.longestShortlist = longestShortlist
  }

  async shortlists(pass: Pass, count: number): Promise<Shortlist[]> {
    const all = await this.#run(pass)
    this.asked.push(count)
    return pass.outputs.map((_, row) => {
      const logits = all.subarray(row * fakeVocab, (row + 1) * fakeVocab)
      const ids = topIds(logits, count)
      return { ids, logits: Float32Array.from(ids, (id) => logits[id]!), logSum: normalize(logits).logSum }
    })
  }

  async forward(pass: Pass): Promise<Float32Array> {
    this.asked.push(Number.POSITIVE_INFINITY)
    return this.#run(pass)
  }

  async #run(pass: Pass): Promise<Float32Array> {
    this.onPass(pass)
    const logits = new Float32Array(pass.outputs.length * fakeVocab)
    const written = new Set<string>()
    for (const { start, length, past, pages } of pass.segments) {
      for (let i = 0; i < length; i++) {
        const position = past + i
        const page = pages[Math.floor(position / pageTokens)]!
        const slot = position % pageTokens
        if (written.has(`${page}.${slot}`)) throw new Error(`page ${page} slot ${slot} written twice in a pass`)
        written.add(`${page}.${slot}`)
        const tokens = this.#pages.get(page) ?? []
        tokens[slot] = pass.ids[start + i]!
        this.#pages.set(page, tokens)
      }
    }
    for (const { start, length, past, pages } of pass.segments) {
      const output = pass.outputs.indexOf(start + length - 1)
      if (output < 0) continue
      const all = Array.from({ length: past + length }, (_, at) => {
        return this.#pages.get(pages[Math.floor(at / pageTokens)]!)![at % pageTokens]!
      })
      logits[output * fakeVocab + nextToken(all)] = 1
    }
    return logits
  }
}
