/**
 * Judges a prompt's K and V as they arrive over the wire, by the logits that the model then gives
 * along continuations.
 */

import { at, defined } from '../base/at.ts'
import type { KvCodec, KvCoding, WireCodec } from '../base/kv-codec.ts'
import type { PagedCache } from '../kv/paged.ts'
import type { Sequence } from '../kv/sequence.ts'
import type { LoadedModel } from '../model/forward.ts'
import { pack } from '../pack/pack.ts'
import { type Ahead, PredictedPrompt } from '../prefill/ahead.ts'
import { tileHeadBytes } from '../transfer/format.ts'
import { decodeSteps, encodeSteps, type ResidualSteps, stepsOf } from '../transfer/residual.ts'
import { tilesOf } from '../transfer/tiles.ts'
import { chunksOf, continued, type Judged } from './judge.ts'

export interface SentEngine {
  readonly model: LoadedModel
  readonly codec: KvCodec
  readonly cache: PagedCache
  /** Present for an engine with a predictor. */
  readonly residuals: (Ahead & { readonly steps: ResidualSteps; readonly firstLayer: number }) | undefined
}

/** A codec, and how coarse `residual` is. */
export interface Sending {
  readonly codec: WireCodec
  readonly coarseness?: number
}

export interface Sent {
  /**
   * For each continuation, the logits after the prompt and after each of its tokens but the last,
   * (continuation, vocab).
   */
  readonly logits: readonly Float32Array[]
  /** Bytes of the payloads and of the heads of their tiles. */
  readonly bytes: number
  readonly encode_ms: number
  readonly decode_ms: number
}

/** Tokens and layers of a tile. */
const tile = { tileTokens: 64, tileLayers: 5 }

/**
 * Returns the exact logits, and those after each way of sending all of the prompt but its last
 * token, which runs on what has arrived. Judging many ways costs one prefill.
 */
export async function logitsSent(
  engine: SentEngine,
  { prompt, continuations }: Judged,
  ways: readonly Sending[],
): Promise<{ readonly exact: readonly Float32Array[]; readonly sent: readonly Sent[] }> {
  const { model, cache, residuals } = engine
  const to = prompt.length - 1
  const exact = cache.open(prompt.length)
  const arrived = cache.open(prompt.length)
  let predicted: PredictedPrompt | undefined
  try {
    for (const { ids } of chunksOf(prompt.slice(0, to), model.passTokens))
      await model.forward(pack([{ sequence: exact, ids, outputs: 'none' }]))
    if (residuals && ways.some(({ codec }) => codec === 'residual')) {
      predicted = new PredictedPrompt(residuals, prompt, [])
      await predicted.ready(to)
    }
    const last = at(prompt, to)
    const reference = await follow(model, exact, last, continuations)
    arrived.extend(to, 0)
    const sent: Sent[] = []
    for (const way of ways) {
      const cost = await send(engine, { exact, arrived, predicted: predicted?.sequence }, to, way)
      sent.push({ ...cost, logits: await follow(model, arrived, last, continuations) })
    }
    return { exact: reference, sent }
  } finally {
    for (const sequence of [exact, arrived]) sequence.release()
    predicted?.release()
  }
}

/** Runs the prompt's last token, and each continuation after it. */
async function follow(
  model: LoadedModel,
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
  const correction = residual && {
    base: defined(predicted).pages,
    steps: decodeSteps(encodeSteps(residual.steps, coarseness), shape),
  }
  if (correction)
    for (const [index, page] of arrived.pages.entries())
      pool.writePage(page, await pool.readPage(at(correction.base, index)))
  const cost = { bytes: 0, encode_ms: 0, decode_ms: 0 }
  for (const one of tilesOf({ ...shape, layers: pool.layers }, { from: 0, to, firstLayer, ...tile })) {
    const coding: KvCoding = {
      codec: name,
      ...(correction && { ...correction, steps: stepsOf(correction.steps, one.layers, firstLayer, shape) }),
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
