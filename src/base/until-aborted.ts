import { abortReason } from './cancelled.ts'
import { Lifetime } from './lifetime.ts'

/** Waits for `work`, but rejects as `aborted` when one of `signals` fires before. */
export async function untilAborted<T>(work: Promise<T>, ...signals: readonly (AbortSignal | undefined)[]): Promise<T> {
  const lifetime = new Lifetime()
  for (const signal of signals) lifetime.follow(signal)
  try {
    return await lifetime.until(work)
  } catch (error) {
    throw lifetime.ended ? abortReason(lifetime.signal) : error
  } finally {
    void lifetime.end()
  }
}
