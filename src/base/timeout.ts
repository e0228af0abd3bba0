/** The longest time that a timer of any host can take, in milliseconds; a longer one fires at once. */
export const longestTimer = 2 ** 31 - 1

/** Calls `fire` after any number of milliseconds; never after Infinity. Returns a function that stops the timer. */
export function startTimer(ms: number, fire: () => void): () => void {
  if (ms === Number.POSITIVE_INFINITY) return () => {}
  const due = performance.now() + ms
  let timer: ReturnType<typeof setTimeout>
  const wait = (left: number) => {
    if (left > longestTimer) timer = setTimeout(() => wait(due - performance.now()), longestTimer)
    else timer = setTimeout(fire, Math.max(0, left))
  }
  wait(ms)
  return () => clearTimeout(timer)
}

/**
 * Resolves with what `work` gives, or with undefined after `ms`. Rejects as `work` does; after `ms`
 * that is dropped.
 */
export async function within<T>(work: Promise<T>, ms: number): Promise<T | undefined> {
  let stop = () => {}
  const late = new Promise<undefined>((resolve) => {
    stop = startTimer(ms, () => resolve(undefined))
  })
  try {
    return await Promise.race([work, late])
  } finally {
    stop()
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
  let stop = startTimer(ms, check)
  let graced = false
  return () => stop()

  function check(): void {
    if (graced || performance.now() - due < heldUpMs) fire()
    else {
      graced = true
      due = performance.now() + graceMs
      stop = startTimer(graceMs, check)
    }
  }
}
