/** A prompt's K and V, expected from another engine: its place in the prefix cache, from which any request then takes them. */
import { bytesOf, fieldsOf, functionOf, listOf, signalOf, textOf, withArguments } from '../base/checks.ts'
import { type KvCodec, pageTokens } from '../base/kv.ts'
import type { PagedCache, Sequence } from '../kv/paged.ts'
import type { PrefixIndex } from '../kv/prefix.ts'
import { type Ahead, PredictedPrompt } from '../prefill/ahead.ts'
import type { KvIdentity } from './format.ts'
import { type Received, type ReceiveOptions, receiveKv } from './receive.ts'

export interface ExpectOptions {
  /** Whose prefix cache it goes to. Default ''. */
  readonly tenant?: string
}

export type KvBodyOptions = Pick<ReceiveOptions, 'key' | 'context' | 'codecs' | 'onBlock' | 'signal'>

/** Whole pages of a prompt, all but its last token: what a request for the same prompt finds in the prefix cache. */
export class ExpectedKv {
  /** Tokens that are here already: what to ask the other engine to leave out. They stay until `release`. */
  readonly from: number
  /** Position behind the last token to ask for. Where it is `from`, nothing is missing. */
  readonly to: number
  readonly #sequence: Sequence
  readonly #take: (body: AsyncIterable<Uint8Array>, options: KvBodyOptions) => Promise<Received>
  #receiving: Promise<unknown> | undefined

  constructor(sequence: Sequence, to: number, take: ExpectedKv['receive']) {
    this.from = sequence.length
    this.to = to
    this.#sequence = sequence
    this.#take = take
  }

  /**
   * Reads the stream of `Engine.kvOf(ids, { from, to })` to its end; then the prefix cache has it. Throws what `receiveKv` throws; the
   * prefix cache is as it was then, and it may be called again.
   */
  receive(body: AsyncIterable<Uint8Array>, options: KvBodyOptions): Promise<Received> {
    const receiving = withArguments('receive', () => this.#take(body, checkedBody(body, options)))
    const settled = receiving.then(
      () => {},
      () => {},
    )
    this.#receiving = settled
    void settled.then(() => {
      if (this.#receiving === settled) this.#receiving = undefined
    })
    return receiving
  }

  /** Lets what it holds be evicted, once nothing is being received into it. May be called twice. */
  release(): void {
    if (this.#receiving) void this.#receiving.then(() => this.#sequence.release())
    else this.#sequence.release()
  }
}

/** Throws `bad_argument`. */
function checkedBody(body: AsyncIterable<Uint8Array>, given: KvBodyOptions): KvBodyOptions {
  functionOf('body[Symbol.asyncIterator]', Object(body)[Symbol.asyncIterator])
  const options = fieldsOf('the options', given)
  const { key, context = '', codecs = [], signal } = options
  bytesOf('key', key)
  textOf('context', context)
  listOf('codecs', codecs)
  signalOf('signal', signal)
  return options
}

export class KvReceiver {
  readonly #cache: PagedCache
  readonly #prefixes: PrefixIndex
  readonly #codec: KvCodec
  readonly #ahead: Ahead | undefined

  /** `ahead` predicts what `residual` streams correct; undefined without a predictor. */
  constructor(cache: PagedCache, prefixes: PrefixIndex, codec: KvCodec, ahead: Ahead | undefined) {
    this.#cache = cache
    this.#prefixes = prefixes
    this.#codec = codec
    this.#ahead = ahead
  }

  /** `identity` is this engine's. */
  expect(ids: readonly number[], identity: Promise<KvIdentity>, { tenant = '' }: ExpectOptions): ExpectedKv {
    const cache = this.#cache
    const sequence = cache.open()
    sequence.adopt(this.#prefixes.match(tenant, ids))
    const to = Math.floor((ids.length - 1) / pageTokens) * pageTokens
    return new ExpectedKv(sequence, to, async (body, options) => {
      const missing = Math.ceil(ids.length / pageTokens) - sequence.pages.length
      // A prediction takes as many pages again.
      this.#prefixes.evict((this.#ahead ? 2 : 1) * missing - cache.pagesFree)
      const predicted = this.#predicted(ids, sequence)
      try {
        const where = { codec: this.#codec, cache, sequence, identity: await identity, ids, to, predicted }
        const received = await cache.passing(() => receiveKv(body, { ...options, ...where }))
        this.#prefixes.insert(tenant, ids.slice(0, to), sequence.pages)
        return received
      } finally {
        predicted?.release()
      }
    })
  }

  /** The prompt's prediction behind what `sequence` holds, computed as it is asked for. */
  #predicted(ids: readonly number[], sequence: Sequence): PredictedPrompt | undefined {
    const ahead = this.#ahead
    return ahead?.prediction.predicts(sequence.length, ids.length)
      ? new PredictedPrompt(ahead, ids, sequence.pages)
      : undefined
  }
}
