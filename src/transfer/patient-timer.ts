/**
 * Timeouts for remote peers. While this thread computes, it reads no answers, so a timer that fires
 * late may find the answer already there, unread. It lets the host read first.
 */

/** A timer that fires this many milliseconds late was delayed by this thread's own work. */
const heldUpMs = 20
const graceMs = 100

/**
 * Calls `fire` once `ms` have passed in which answers could be read. Returns a function that stops
 * the timer.
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
