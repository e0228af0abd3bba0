/** The progress line of a batch. */
import { StatusLine } from '../terminal.ts'

export interface BatchCounts {
  answered: number
  errors: number
  /** Lines that an earlier run answered. */
  resumed: number
  prompt_tokens: number
  completion_tokens: number
  cached_tokens: number
}

export function batchProgress(total: number | undefined) {
  const line = new StatusLine()
  const begun = performance.now()
  return {
    seconds: () => (performance.now() - begun) / 1000,
    update(counts: BatchCounts) {
      line.show(progressText(counts, total, (performance.now() - begun) / 1000))
    },
    end: () => line.clear(),
  }
}

/** Formats progress, such as `41 %  ████  410 of 1000  3 errors  812 tokens/s  4 min 10 s left` */
export function progressText(counts: BatchCounts, total: number | undefined, seconds: number): string {
  const now = counts.answered + counts.errors
  const done = now + counts.resumed
  const tokens = counts.prompt_tokens + counts.completion_tokens
  const parts = [
    total ? `${String(Math.floor((100 * done) / total)).padStart(3)} %` : '',
    total ? '█'.repeat(Math.round((20 * done) / total)).padEnd(20) : '',
    total ? `${done} of ${total}` : `${done} lines`,
    counts.errors > 0 ? `${counts.errors} errors` : '',
    seconds > 0 && tokens > 0 ? `${Math.round(tokens / seconds)} tokens/s` : '',
    total && now > 0 && done < total ? `${duration(((total - done) * seconds) / now)} left` : '',
  ]
  return parts.filter((part) => part !== '').join('  ')
}

function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}
