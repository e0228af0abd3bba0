/**
 * Soaks the chunk store: it grows first, and then prompts of several tenants bring more documents than
 * it holds, in ever new orders, while others are placed, refined, cancelled and read; files of chunks
 * come and go. Every sampled answer must equal the exact one, and what is kept must stay within its
 * budget and be given back.
 */
import { type Engine, ForetokenError, type GenerateRequest, type LoadedChunks } from '../../src/index.ts'
import { type Random, random } from '../helpers/random.ts'

export interface ChunkSoakOptions {
  readonly rounds: number
  readonly seed: number
  /** The engine keeps at most this many bytes of chunks. */
  readonly chunkBytes: number
  readonly onProgress?: (done: number) => void
}

export interface ChunkSoakReport {
  readonly rounds: number
  readonly answers: number
  readonly cancelled: number
  readonly placed_tokens: number
  readonly departed: number
  /** Corrected answers that were compared with exact ones, and those that differ. */
  readonly compared: number
  readonly wrong: number
  /** Rounds after which more was kept than the budget allows, or pages were held that nobody needs. */
  readonly over: number
  readonly leaked: number
  /** How often less was kept after a round than before, and the files that were loaded. */
  readonly evictions: number
  readonly files: number
  /** Bytes of chunks: the most, and those left when all files were released. */
  readonly most_bytes: number
  readonly left_bytes: number
  /** Whether the store was full before its half of the rounds was over. */
  readonly filled: boolean
  /** Bytes of the core, at half of the rounds and at the end. Chunks are outside of it. */
  readonly wasm_bytes: readonly [number, number]
  /** Bytes of array buffers: before, at most, and at the end. */
  readonly buffers: readonly [number, number, number]
}

const tenants = ['a', 'b', 'c']
const documentCount = 160

/** Runs rounds of requests on `engine`; `exact` answers those that are compared, and keeps nothing. */
export async function soakChunks(engine: Engine, exact: Engine, options: ChunkSoakOptions): Promise<ChunkSoakReport> {
  const { rounds, seed, chunkBytes } = options
  const draw = random(seed)
  const documents = Array.from({ length: documentCount }, (_, index) => documentOf(random(1000 + index)))
  const files = await filesOf(exact, documents)
  const count = { answers: 0, cancelled: 0, placed: 0, departed: 0, compared: 0, wrong: 0, over: 0, leaked: 0 }
  let [evictions, loads, most, half] = [0, 0, 0, 0]
  let [isFull, filled] = [false, false]
  /** Files that are loaded, by file and tenant: one that is loaded twice takes its bytes once. */
  const held: { readonly name: string; readonly loaded: LoadedChunks }[] = []
  const buffers = [arrayBuffers(), 0, 0] as [number, number, number]
  for (let round = 0; round < rounds; round++) {
    const before = engine.stats.chunk_bytes
    const work: Promise<unknown>[] = []
    for (let n = 1 + draw.below(5); n > 0; n--) work.push(request(draw.below(2 ** 30)))
    // The store is grown before anything else is done with it.
    if (isFull && draw.below(4) === 0) work.push(changeFiles())
    if (draw.below(3) > 0) work.push(engine.keepChunks())
    await Promise.all(work)
    await engine.keepChunks()
    const { chunk_bytes, pages_in_use, prefix_pages, running, waiting } = engine.stats
    if (chunk_bytes < before) evictions++
    if (chunk_bytes > chunkBytes) count.over++
    if (pages_in_use !== prefix_pages || running > 0 || waiting > 0) count.leaked++
    isFull ||= chunk_bytes > 0.8 * chunkBytes
    if (round === rounds >> 1) [half, filled] = [engine.backend.memoryBytes(), isFull]
    most = Math.max(most, chunk_bytes)
    buffers[1] = Math.max(buffers[1], arrayBuffers())
    options.onProgress?.(round + 1)
  }
  const sizes = new Map(held.map(({ name, loaded: { bytes } }) => [name, bytes]))
  const pinned = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0)
  const full = engine.stats.chunk_bytes
  for (const { loaded } of held) loaded.release()
  if (engine.stats.chunk_bytes !== full - pinned) count.leaked++
  const left = engine.stats.chunk_bytes
  const wasm = engine.backend.memoryBytes()
  await engine.close()
  buffers[2] = arrayBuffers()
  const { placed: placed_tokens, ...counted } = count
  return {
    ...{ rounds, ...counted, placed_tokens, evictions, files: loads, most_bytes: most, left_bytes: left },
    filled,
    wasm_bytes: [half, wasm],
    buffers,
  }

  async function request(seed: number): Promise<void> {
    const one = random(seed)
    const { prompt, chunks } = promptOf(documents, one)
    const tenant = tenants[one.below(tenants.length)]!
    const prefill = one.below(3) === 0 ? 'predicted' : 'refined'
    const wanted: GenerateRequest = { prompt, chunks, tenant, prefill, maxTokens: 1 + one.below(12), ignoreEos: true }
    const verified = prefill === 'refined' && one.below(2) === 0
    const leaveAfter = one.below(4) === 0 ? one.below(6) : Number.POSITIVE_INFINITY
    const control = new AbortController()
    let events = 0
    try {
      const signal = control.signal
      for await (const event of engine.submit({ ...wanted, signal, ...(verified && { verify: true }) })) {
        if (events++ >= leaveAfter) control.abort()
        if (event.type !== 'done') continue
        count.answers++
        count.placed += event.placed_tokens ?? 0
        if (typeof event.verified === 'number') count.departed++
        if (!verified || one.below(3) > 0) continue
        count.compared++
        const { maxTokens = 1 } = wanted
        const { ids } = await exact.submit({ prompt, maxTokens, ignoreEos: true }).result()
        if (ids.join() !== event.ids.join()) count.wrong++
      }
    } catch (error) {
      if (!(error instanceof ForetokenError) || error.code !== 'aborted') throw error
      count.cancelled++
    }
  }

  async function changeFiles(): Promise<void> {
    if (held.length > 1) return held.shift()?.loaded.release()
    const index = draw.below(files.length)
    const tenant = tenants[draw.below(2 * tenants.length)]
    const loaded = await engine.loadChunks(files[index]!, tenant === undefined ? {} : { tenant })
    held.push({ name: `${index} ${tenant}`, loaded })
    loads++
  }
}

/** Returns whether nothing was wrong, over the budget or left behind. */
export function isSound({ wrong, over, leaked, filled, wasm_bytes: [half, end] }: ChunkSoakReport): boolean {
  // A later crowd of requests may need some more pages.
  return wrong === 0 && over === 0 && leaked === 0 && filled && end <= half * 1.05
}

function documentOf(draw: Random): string {
  return Array.from({ length: 30 + draw.below(60) }, () => String.fromCharCode(97 + draw.below(26))).join('')
}

async function filesOf(engine: Engine, documents: readonly string[]): Promise<Uint8Array[]> {
  const files: Uint8Array[] = []
  for (const from of [0, 4, 100]) files.push(await engine.saveChunks(documents.slice(from, from + 4)))
  return files
}

/** Returns a prompt with some documents in some order, the earlier ones more often. */
function promptOf(documents: readonly string[], draw: Random) {
  const prompt = [...Buffer.from('Read: ')]
  const chunks: { from: number; to: number }[] = []
  for (let n = 1 + draw.below(5); n > 0; n--) {
    const from = prompt.length
    const often = draw.below(2) === 0 ? 12 : documents.length
    prompt.push(...Buffer.from(documents[draw.below(often)]!))
    chunks.push({ from, to: prompt.length })
  }
  prompt.push(...Buffer.from(` What is ${draw.below(1000)}?`))
  return { prompt, chunks }
}

/** With `--expose-gc`, garbage is collected before. */
function arrayBuffers(): number {
  ;(globalThis as { gc?: () => void }).gc?.()
  return process.memoryUsage().arrayBuffers
}
