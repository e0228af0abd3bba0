/** A prompt's K and V as they arrive over the wire, judged by what the model then says of given continuations. */

import type { KvCodec, KvCoding, WireCodec } from '../base/kv.ts'
import type { PagedCache, Sequence } from '../kv/paged.ts'
import type { Llama } from '../model/forward.ts'
import { pack } from '../pack/pack.ts'
import { type Ahead, PredictedPrompt } from '../prefill/ahead.ts'
import { tilesOf } from '../transfer/format.ts'
import { decodeSteps, encodeSteps, type ResidualSteps, stepsOf } from '../transfer/residual.ts'
import { chunksOf, continued, type Judged } from './judge.ts'

export interface SentEngine {
  readonly model: Llama
  readonly codec: KvCodec
  readonly cache: PagedCache
  /** Of an engine with a predictor. */
  readonly residuals: (Ahead & { readonly steps: ResidualSteps; readonly firstLayer: number }) | undefined
}

/** A way to send, and how coarse `residual` is. */
export interface Sending {
  readonly codec: WireCodec
  readonly coarseness?: number
}

export interface Sent {
  /** For each continuation: after the prompt, and after each of its tokens but the last, (continuation, vocab). */
  readonly logits: readonly Float32Array[]
  /** Payloads and the heads of their tiles. */
  readonly bytes: number
  readonly encode_ms: number
  readonly decode_ms: number
}

/** Tokens and layers of a tile. */
const tile = { tileTokens: 64, tileLayers: 5 }
const tileHeadBytes = 24

/**
 * Exact logits, and those behind each way of sending all but the prompt's last token, which runs on what has arrived. Judging many ways
 * costs one prefill.
 */
export async function logitsSent(
  engine: SentEngine,
  { prompt, continuations }: Judged,
  ways: readonly Sending[],
): Promise<{ readonly exact: readonly Float32Array[]; readonly sent: readonly Sent[] }> {
  const { model, cache, residuals } = engine
  const to = prompt.length - 1
  const exact = cache.open()
  const arrived = cache.open()
  let predicted: PredictedPrompt | undefined
  try {
    for (const { ids } of chunksOf(prompt.slice(0, to), model.passTokens))
      await model.forward(pack([{ sequence: exact, ids, outputs: 'none' }]))
    if (residuals && ways.some(({ codec }) => codec === 'residual')) {
      predicted = new PredictedPrompt(residuals, prompt, [])
      await predicted.ready(to)
    }
    const reference = await follow(model, exact, prompt[to]!, continuations)
    arrived.extend(to, 0)
    const sent: Sent[] = []
    for (const way of ways) {
      const cost = await send(engine, { exact, arrived, predicted: predicted?.sequence }, to, way)
      sent.push({ ...cost, logits: await follow(model, arrived, prompt[to]!, continuations) })
    }
    return { exact: reference, sent }
  } finally {
    for (const sequence of [exact, arrived]) sequence.release()
    predicted?.release()
  }
}

/** The prompt's last token, and each continuation behind it. */
async function follow(
  model: Llama,
  sequence: Sequence,
  last: number,
  continuations: Judged['continuations'],
): Promise<Float32Array[]> {
  const { length } = sequence
  const run = (ids: readonly number[], outputs: 'last' | 'all') => model.forward(pack([{ sequence, ids, outputs }]))
  const first = await run([last], 'last')
  const logits = await continued(sequence, first, continuations, (ids) => run(ids, 'all'))
  sequence.truncate(length)
  return logits
}

async function send(
  { codec, cache: { pool }, residuals }: SentEngine,
  { exact, arrived, predicted }: { exact: Sequence; arrived: Sequence; predicted: Sequence | undefined },
  to: number,
  { codec: name, coarseness = 1 }: Sending,
): Promise<Omit<Sent, 'logits'>> {
  const residual = name === 'residual' ? residuals : undefined
  const firstLayer = residual?.firstLayer ?? 0
  const shape = { layers: pool.layers - firstLayer, kvHeads: pool.kvHeads, headDim: pool.headDim }
  const steps = residual && decodeSteps(encodeSteps(residual.steps, coarseness), shape)
  if (residual)
    for (const [index, page] of arrived.pages.entries())
      pool.writePage(page, await pool.readPage(predicted!.pages[index]!))
  const cost = { bytes: 0, encode_ms: 0, decode_ms: 0 }
  for (const one of tilesOf({ ...shape, layers: pool.layers }, { from: 0, to, firstLayer, ...tile })) {
    const coding: KvCoding = {
      codec: name,
      ...(residual && { base: predicted!.pages, steps: stepsOf(steps!, one.layers, firstLayer, shape) }),
    }
    const begun = performance.now()
    const bytes = await codec.encodeKv(pool, { ...one, pages: exact.pages }, coding)
    const encoded = performance.now()
    await codec.decodeKv(pool, { ...one, pages: arrived.pages }, coding, bytes)
    cost.bytes += bytes.length + tileHeadBytes
    cost.encode_ms += encoded - begun
    cost.decode_ms += performance.now() - encoded
  }
  return cost
}
