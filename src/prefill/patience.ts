/**
 * Timers for what others should do. A core that computes reads no answers meanwhile: a timer that fires late may find what it waits for
 * already there, unread. So it lets the host read first.
 */

/** A timer this late was held up by this core's own work. */
const heldUpMs = 20
const graceMs = 100

/** Calls `fire` once `ms` have passed in which answers could be read. Returns how to stop it. */
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

/** A signal that fires after `ms`; call `stop` when it is not needed any more. */
export function deadline(ms: number): { readonly signal: AbortSignal; stop(): void } {
  const control = new AbortController()
  return { signal: control.signal, stop: after(ms, () => control.abort()) }
}
