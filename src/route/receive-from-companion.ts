/** Receives the K and V of a prompt from a companion. */
import type { WireCodec } from '../base/kv-codec.ts'
import { Lifetime } from '../base/lifetime.ts'
import type { Engine } from '../engine/engine.ts'
import type { ExpectedKv } from '../transfer/expected-kv.ts'
import type { RemoteCompanion } from '../transfer/remote.ts'
import { WaitBudget } from '../transfer/wait-budget.ts'
import type { TokenRequest } from './request.ts'
import type { Decision } from './router.ts'
import type { Trial } from './trial.ts'
import { patienceMs, waitingWith } from './waiting.ts'

export interface Receiving {
  readonly engine: Engine
  readonly request: TokenRequest
  readonly decision: Decision<RemoteCompanion>
  /** Takes K and V into the prefix cache. */
  readonly expected: ExpectedKv
  readonly codec: WireCodec
  readonly trial: Trial
  /** Aborted when K and V are no longer needed. */
  readonly signal: AbortSignal
}

/**
 * Resolves with true once all K and V have arrived, or with false if they do not arrive or are no
 * longer needed.
 */
export async function receiveFromCompanion(receiving: Receiving): Promise<boolean> {
  const { engine, request, decision, expected, codec, trial, signal } = receiving
  const { prompt, tenant = '' } = request
  const { companion, predictedMs, considered } = decision
  const { from, to } = expected
  if (!companion) return false
  const { client } = companion
  const call = new Lifetime().follow(signal)
  // Only waiting for the network counts, not decoding K and V here, nor the prediction that
  // residuals are added to.
  const budget = new WaitBudget(patienceMs(considered.remote ?? predictedMs), () => void call.end())
  call.hold(() => budget.stop())
  try {
    const range = { ids: prompt, model: engine.identity, tenant, codec, from, to }
    const kv = await budget.wait(client.kv({ ...range, signal: call.signal, onHeld: trial.noteHeld }))
    const { key } = client.address
    const options = { key, context: kv.context, codecs: [codec], signal: call.signal }
    await expected.receive(waitingWith(budget, kv), options)
    trial.succeeded(kv.arrived())
    trial.answered()
    return true
  } catch (error) {
    if (!signal.aborted) trial.failed(error, budget)
    return false
  } finally {
    await call.end()
  }
}
