/** Runs the model for callers that drive it themselves: sessions, scores and logits. */
import { at } from '../base/at.ts'
import { Callback } from '../base/callback.ts'
import { idsOf, listOf, withArguments } from '../base/checks.ts'
import { checkedFields } from '../base/fields.ts'
import { scoreTokens } from '../decode/score.ts'
import { Session } from '../decode/session.ts'
import type { PagedCache } from '../kv/paged.ts'
import type { Sequence } from '../kv/sequence.ts'
import type { LoadedModel } from '../model/forward.ts'
import { pack } from '../pack/pack.ts'
import type { Prefill } from '../prefill/prefill.ts'
import { type PrefillRequest, prefillChecks } from './options.ts'

export interface SessionParts {
  readonly model: LoadedModel
  readonly cache: PagedCache
  readonly prefill: Prefill
  /** Aborted when the engine closes. */
  readonly closing: AbortSignal
}

/**
 * Reads each of `prompts` in as few passes as possible. Either all succeed or none. The caller must
 * release the sessions.
 */
export function openSessions(
  parts: SessionParts,
  prompts: readonly (readonly number[])[],
  options: PrefillRequest,
): Promise<Session[]> {
  parts.model.requireAnswers()
  const { vocab } = parts.model.config
  const checked = withArguments('prefill', () => {
    const fields = checkedFields('the options', options, prefillChecks, 'be absent')
    return {
      fields,
      prompts: Array.from(listOf('prompts', prompts), (ids, index) => idsOf(`prompts[${index}]`, ids, vocab)),
    }
  })
  return parts.cache.passing(() => read(parts, checked.prompts, checked.fields))
}

/** Returns the log-probability of each of `ids` after the ids before it, (ids.length - 1). */
export function scoreIds({ model, cache }: SessionParts, ids: readonly number[]): Promise<Float64Array> {
  const checked = checkedIds(model, ids)
  return cache.borrow((sequence) => scoreTokens(model, sequence, checked), checked.length - 1)
}

/** Returns the logits after each of `ids`, (ids, vocab). Takes at most one pass of tokens. */
export function logitsOfIds({ model, cache }: SessionParts, ids: readonly number[]): Promise<Float32Array> {
  const checked = checkedIds(model, ids)
  const forward = (sequence: Sequence) => model.forward(pack([{ sequence, ids: checked, outputs: 'all' }]))
  return cache.borrow(forward, checked.length)
}

function checkedIds(model: LoadedModel, ids: readonly number[]): readonly number[] {
  model.requireAnswers()
  const { config } = model
  return withArguments('ids', () => idsOf('ids', ids, config.vocab))
}

async function read(
  { model, cache, prefill, closing }: SessionParts,
  prompts: readonly (readonly number[])[],
  options: PrefillRequest,
): Promise<Session[]> {
  const packed = prompts.map((ids) => ({ ids, sequence: cache.open(ids.length) }))
  try {
    for (const { ids, sequence } of packed) sequence.reserve(ids.length)
    const onPrefill = new Callback('onPrefill', options.onPrefill)
    const logits = await prefill.run(packed, { signal: options.signal, onProgress: onPrefill.call })
    await onPrefill.settle()
    return packed.map(({ sequence }, index) => new Session(model, sequence, at(logits, index), closing))
  } catch (error) {
    for (const { sequence } of packed) sequence.release()
    throw error
  }
}
