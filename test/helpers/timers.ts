/**
 * Counts the timers that the code under test has set and that have neither fired nor been cleared.
 */

export interface Timers {
  /** Counts timers of at least `ms`: tests and hosts use shorter ones. */
  live(ms?: number): number
  stop(): void
}

export function countTimers(): Timers {
  const { setTimeout: set, clearTimeout: clear } = globalThis
  const live = new Map<unknown, number>()
  globalThis.setTimeout = ((fire: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) => {
    const timer = set(() => {
      live.delete(timer)
      fire(...args)
    }, ms)
    live.set(timer, ms)
    return timer
  }) as typeof setTimeout
  globalThis.clearTimeout = ((timer: Parameters<typeof clear>[0]) => {
    live.delete(timer)
    clear(timer)
  }) as typeof clearTimeout
  return {
    live: (ms = 0) => [...live.values()].filter((own) => own >= ms).length,
    stop() {
      globalThis.setTimeout = set
      globalThis.clearTimeout = clear
    },
  }
}
