/** Reads prompts into caches of their own, for callers that drive the model themselves. */
import { at } from '../base/at.ts'
import { Callback } from '../base/callback.ts'
import { fieldsOf, idsOf, listOf, signalOf, withArguments } from '../base/checks.ts'
import { Session } from '../decode/session.ts'
import type { PagedCache } from '../kv/paged.ts'
import type { LoadedModel } from '../model/forward.ts'
import type { Prefill } from '../prefill/prefill.ts'
import type { PrefillRequest } from './options.ts'

interface SessionParts {
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
  const { vocab } = parts.model.config
  const checked = withArguments('prefill', () => {
    const fields = fieldsOf('the options', options, 'be absent')
    signalOf('signal', fields.signal)
    return {
      fields,
      prompts: listOf('prompts', prompts).map((ids, index) => idsOf(`prompts[${index}]`, ids, vocab)),
    }
  })
  return parts.cache.passing(() => read(parts, checked.prompts, checked.fields))
}

async function read(
  { model, cache, prefill, closing }: SessionParts,
  prompts: readonly (readonly number[])[],
  options: PrefillRequest,
): Promise<Session[]> {
  const packed = prompts.map((ids) => ({ ids, sequence: cache.open() }))
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
