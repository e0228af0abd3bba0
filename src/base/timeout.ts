/**
 * Resolves with what `work` gives, or with undefined after `ms`. Rejects as `work` does; after `ms`
 * that is dropped.
 */
export async function within<T>(work: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

/** A timer that fires this many milliseconds late was delayed by this thread's own work. */
const heldUpMs = 20
const graceMs = 100

/**
 * Calls `fire` once `ms` have passed in which a peer's bytes could be read. While this thread
 * computes, it reads none, so a timer that fires late lets the host read first: what the peer sent
 * may lie there unread. Returns a function that stops the timer.
 */
export function after(ms: number, fire: () => void): () => void {
  let due = performance.now() + ms
  let timer = setTimeout(check, ms)
  let graced = false
  return () => clearTimeout(timer)

  function check(): void {
    if (graced || performance.now() - due < heldUpMs) fire()
    else {
      graced = true
      due = performance.now() + graceMs
      timer = setTimeout(check, graceMs)
    }
  }
}
