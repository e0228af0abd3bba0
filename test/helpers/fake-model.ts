/**
 * A model whose next token is a pure function of all tokens before it, which it reads back from KV
 * pages. A page that is shared, freed or written wrongly gives a wrong token, and so does a token
 * read from predicted K and V.
 */
import type { Scores } from '../../src/backend/backend.ts'
import { ForetokenError } from '../../src/base/errors.ts'
import { type KvPool, pageTokens } from '../../src/base/kv.ts'
import type { ModelConfig } from '../../src/base/model.ts'
import type { Pass, Segment } from '../../src/base/pass.ts'
import { normalize, topIds } from '../../src/decode/logprobs.ts'
import type { PassModel } from '../../src/decode/scheduler.ts'

export const fakeVocab = 61

/** Values in the state of a sequence. */
export const fakeHidden = 2

/** The shape of the fake model, of which the work of its rows is counted. */
export const fakeConfig = {
  vocab: fakeVocab,
  hidden: fakeHidden,
  intermediate: 4 * fakeHidden,
  heads: 1,
  kvHeads: 1,
  headDim: fakeHidden,
} as ModelConfig

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

/** Returns a pool in a memory of `most` pages. */
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

/** Hashes the tokens with FNV-1a. */
export function nextToken(ids: readonly number[]): number {
  let hash = 0x811c9dc5
  for (const id of ids) hash = Math.imul(hash ^ (id + 1), 0x01000193) >>> 0
  return (hash >>> 8) % fakeVocab
}

/** Returns the final state of the last of `ids`: the token that follows, and their number. */
export function stateOf(ids: readonly number[]): number[] {
  return [nextToken(ids), ids.length]
}

/** Returns the answer that a request gets alone: until token 0 or `most` tokens. */
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
  readonly config = fakeConfig
  /** Called with each pass before it runs; a returned promise is awaited. */
  onPass: (pass: Pass) => unknown = () => {}
  /** Number of top logits requested of each row of each pass; Infinity for all. */
  readonly asked: (readonly number[])[] = []
  readonly #longestShortlist: number
  /**
   * For each page and slot, the token whose K and V are there, plus the vocabulary's size if they
   * are not exact.
   */
  readonly #pages = new Map<number, number[]>()

  constructor(passTokens: number, longestShortlist = 0) {
    this.passTokens = passTokens
    this.#longestShortlist = longestShortlist
  }

  /** The pass that `through` runs, and its logits. */
  #through: { readonly pass: Pass; readonly logits: Float32Array } | undefined

  async scores(pass: Pass, bests: readonly number[]): Promise<Scores[]> {
    return this.through(pass, () => this.scoresOf(pass.outputs, bests))
  }

  async through<T>(pass: Pass, score: () => Promise<T>): Promise<T> {
    this.#through = { pass, logits: await this.#run(pass) }
    return score()
  }

  /** Returns `stateOf` the tokens up to each row, as its pages have them. */
  async finalStates(picked: readonly number[]): Promise<Float32Array> {
    const { segments } = this.#through!.pass
    return Float32Array.from(
      picked.flatMap((row) => {
        const segment = segments.find(({ start, length }) => row >= start && row < start + length)!
        return stateOf(this.#read(segment, segment.past + row - segment.start + 1))
      }),
    )
  }

  async scoresOf(_: readonly number[], bests: readonly number[]): Promise<Scores[]> {
    const all = this.#through!.logits
    this.asked.push(bests)
    return bests.map((best, row) => {
      const logits = all.subarray(row * fakeVocab, (row + 1) * fakeVocab)
      if (best > this.#longestShortlist) return logits
      const ids = topIds(logits, best)
      return { ids, logits: Float32Array.from(ids, (id) => logits[id]!), logSum: normalize(logits).logSum }
    })
  }

  /** Writes the K and V of `ids` into `pages`, as if they had been received. */
  put(ids: readonly number[], pages: readonly number[]): void {
    ids.forEach((id, position) => {
      this.#write(pages, position, id)
    })
  }

  async #run(pass: Pass): Promise<Float32Array> {
    await this.onPass(pass)
    const { ids, segments, predicted = 0, refined = 0, outputs } = pass
    const logits = new Float32Array(outputs.length * fakeVocab)
    const written = new Set<string>()
    const fresh = segments.length - refined
    const inOrder = segments.map((segment, at) => ({ segment, at })).sort((a, b) => a.segment.past - b.segment.past)
    for (const { segment, at } of inOrder) {
      const { start, length, past, pages, states } = segment
      if (at >= fresh) states!.slice(past, past + length)
      else await states?.append(length, async () => new Float32Array(length * fakeHidden))
      // K and V are exact if all before them are, in any mode.
      let exact = at >= predicted && this.#read(segment, past).every((value) => value < fakeVocab)
      for (let i = 0; i < length; i++) {
        const slot = `${pages[Math.floor((past + i) / pageTokens)]}.${(past + i) % pageTokens}`
        if (written.has(slot)) throw new Error(`slot ${slot} is written twice in a pass`)
        written.add(slot)
        this.#write(pages, past + i, ids[start + i]! + (exact ? 0 : fakeVocab))
        exact &&= at >= predicted
      }
    }
    for (const [output, row] of outputs.entries()) {
      const segment = segments.find(({ start, length }) => row >= start && row < start + length)!
      logits[output * fakeVocab + nextToken(this.#read(segment, segment.past + row - segment.start + 1))] = 1
    }
    return logits
  }

  #write(pages: readonly number[], position: number, value: number): void {
    const page = pages[Math.floor(position / pageTokens)]!
    const values = this.#pages.get(page) ?? []
    values[position % pageTokens] = value
    this.#pages.set(page, values)
  }

  #read({ pages }: Segment, length: number): number[] {
    return Array.from({ length }, (_, at) => this.#pages.get(pages[Math.floor(at / pageTokens)]!)![at % pageTokens]!)
  }
}
