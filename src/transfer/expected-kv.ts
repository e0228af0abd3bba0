/**
 * Receives a prompt's K and V from another engine into the prefix cache, where any request finds
 * them.
 */
import { bytesOf, functionOf, signalOf, textOf, withArguments } from '../base/checks.ts'
import { type Checks, callable, checkedFields, listWith, nameOf, needed } from '../base/fields.ts'
import { pageTokens } from '../base/kv.ts'
import { type KvCodec, wireCodecs } from '../base/kv-codec.ts'
import type { PagedCache } from '../kv/paged.ts'
import type { PrefixIndex } from '../kv/prefix.ts'
import type { Sequence } from '../kv/sequence.ts'
import { type Ahead, PredictedPrompt } from '../prefill/ahead.ts'
import type { KvIdentity } from './format.ts'
import { type Received, type ReceiveOptions, receiveKv } from './receive-kv.ts'

export interface ExpectOptions {
  /** The tenant whose prefix cache receives the tokens. Default ''. */
  readonly tenant?: string
}

/** The checks of `ExpectOptions`. */
export const expectChecks: Checks<ExpectOptions> = { tenant: textOf }

export type KvBodyOptions = Pick<ReceiveOptions, 'key' | 'context' | 'codecs' | 'onBlock' | 'signal'>

/**
 * The whole pages of a prompt without its last token: what a request for the same prompt finds in
 * the prefix cache.
 */
export class ExpectedKv {
  /**
   * Number of tokens that are here already: the other engine should leave them out. They stay until
   * `release`.
   */
  readonly from: number
  /** The position after the last token to ask for. If it equals `from`, nothing is missing. */
  readonly to: number
  readonly #sequence: Sequence
  readonly #receive: (body: AsyncIterable<Uint8Array>, options: KvBodyOptions) => Promise<Received>
  #receiving: Promise<unknown> | undefined

  constructor(sequence: Sequence, to: number, receive: ExpectedKv['receive']) {
    this.from = sequence.length
    this.to = to
    this.#sequence = sequence
    this.#receive = receive
  }

  /**
   * Reads the stream of `Engine.kvOf(ids, { from, to })` to its end and gives it to the prefix
   * cache. Throws what `receiveKv` throws; the prefix cache is unchanged then, and `receive` may be
   * called again.
   */
  receive(body: AsyncIterable<Uint8Array>, options: KvBodyOptions): Promise<Received> {
    const receiving = withArguments('receive', () => this.#receive(body, checkedOptions(body, options)))
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

  /**
   * Allows eviction of the tokens held, once a running `receive` has ended. May be called twice.
   */
  release(): void {
    if (this.#receiving) void this.#receiving.then(() => this.#sequence.release())
    else this.#sequence.release()
  }
}

/** The checks of the options of `ExpectedKv.receive`. */
export const kvBodyChecks: Checks<KvBodyOptions> = {
  key: needed(bytesOf),
  context: textOf,
  codecs: listWith(nameOf(wireCodecs)),
  onBlock: callable(),
  signal: (name, value) => signalOf(name, value) as AbortSignal,
}

/** Returns the options. Throws `bad_argument` for a wrong type. */
function checkedOptions(body: AsyncIterable<Uint8Array>, value: KvBodyOptions): KvBodyOptions {
  functionOf('body[Symbol.asyncIterator]', Object(body)[Symbol.asyncIterator])
  return checkedFields('the options', value, kvBodyChecks)
}

export class KvReceiver {
  readonly #cache: PagedCache
  readonly #prefixes: PrefixIndex
  readonly #codec: KvCodec
  readonly #ahead: Ahead | undefined

  /**
   * `ahead` predicts the K and V that `residual` streams correct; undefined without a predictor.
   */
  constructor(cache: PagedCache, prefixes: PrefixIndex, codec: KvCodec, ahead: Ahead | undefined) {
    this.#cache = cache
    this.#prefixes = prefixes
    this.#codec = codec
    this.#ahead = ahead
  }

  /** Returns the missing part of a prompt's K and V. `identity` is this engine's. */
  expect(ids: readonly number[], identity: Promise<KvIdentity>, { tenant = '' }: ExpectOptions): ExpectedKv {
    const cache = this.#cache
    const sequence = cache.open(ids.length)
    sequence.adopt(this.#prefixes.match(tenant, ids, sequence.long))
    const to = Math.floor((ids.length - 1) / pageTokens) * pageTokens
    return new ExpectedKv(sequence, to, async (body, options) => {
      const missing = Math.ceil(ids.length / pageTokens) - sequence.pages.length
      // A prediction needs as many pages again.
      this.#prefixes.evict((this.#ahead ? 2 : 1) * missing - cache.pagesFree)
      const predicted = this.#predicted(ids, sequence)
      try {
        const target = { codec: this.#codec, cache, sequence, identity: await identity, ids, to, predicted }
        const received = await cache.passing(() => receiveKv(body, { ...options, ...target }))
        this.#prefixes.insert(tenant, ids.slice(0, to), sequence.pages, sequence.long)
        return received
      } finally {
        predicted?.release()
      }
    })
  }

  /** Returns a prediction of the tokens that `sequence` lacks, computed on demand. */
  #predicted(ids: readonly number[], sequence: Sequence): PredictedPrompt | undefined {
    const ahead = this.#ahead
    return ahead?.prediction.predicts(sequence.length, ids.length)
      ? new PredictedPrompt(ahead, ids, sequence.pages)
      : undefined
  }
}
