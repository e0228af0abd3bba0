/**
 * Runs checks concurrently, each with a time limit, so that none delays the others or the command.
 */
import { asForetokenError } from '../../node/index.ts'

/**
 * `ok`: as it should be. `note`: optional, or not checked. `warning`: works, but less well.
 * `missing`: the model cannot run without it.
 */
export type Verdict = 'ok' | 'note' | 'warning' | 'missing'

export interface Finding {
  readonly verdict: Verdict
  /** What the check found, as one line. */
  readonly found: string
  /** What to do about it, or what it means. */
  readonly next?: string
}

export interface Check {
  readonly name: string
  /** Milliseconds after which the check counts as failed. Default 5,000. */
  readonly limitMs?: number
  /** The verdict if the check fails or takes too long. Default: `warning`. */
  readonly failed?: Verdict
  /**
   * Runs the check. `signal` fires at the time limit, so that the check can release its resources.
   */
  run(signal: AbortSignal): Promise<Finding> | Finding
}

export interface NamedFinding extends Finding {
  readonly name: string
}

/** Runs all checks concurrently, and yields their findings in the order of the checks. */
export async function* runChecks(checks: readonly Check[]): AsyncGenerator<NamedFinding> {
  for (const finding of checks.map(runCheck)) yield await finding
}

async function runCheck({ name, limitMs = 5000, failed = 'warning', run }: Check): Promise<NamedFinding> {
  const control = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<Finding>((resolve) => {
    timer = setTimeout(() => {
      control.abort()
      resolve({ verdict: failed, found: `no answer within ${limitMs / 1000} s` })
    }, limitMs)
  })
  try {
    const found = (async () => run(control.signal))()
    // Errors after the time limit are ignored.
    found.catch(() => {})
    return { name, ...(await Promise.race([found, late])) }
  } catch (error) {
    return { name, verdict: failed, found: asForetokenError(error).message }
  } finally {
    clearTimeout(timer)
  }
}
