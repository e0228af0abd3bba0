/** The progress bar of a download or a load: share, rate over the last seconds, and time left. */
import { basename } from 'node:path'
import type { PullProgress } from '../node/index.ts'
import { note, StatusLine, size } from './terminal.ts'

/** Shows the progress of loading a model that is here. Prints nothing on a pipe. */
export function loadProgress(model: string): { update(done: number, total: number): void; end(): void } {
  const name = basename(model)
  const line = new StatusLine()
  const marks: Mark[] = []
  return {
    update(done, total) {
      mark(marks, done)
      line.show(`loading ${name}  ${bar(done, total, rate(marks))}`)
    },
    end: () => line.clear(),
  }
}

interface Mark {
  readonly at: number
  readonly done: number
}

/** Notes how much is done now, and forgets what is more than five seconds old. */
function mark(marks: Mark[], done: number): void {
  marks.push({ at: performance.now(), done })
  while (marks.length > 2 && marks.at(-1)!.at - marks[0]!.at > 5000) marks.shift()
}

/** Shows a pull's progress. On a pipe it prints one line for each source, or none if `quiet`. */
export function pullProgress(model: string, quiet = false): { update(progress: PullProgress): void; end(): void } {
  const line = new StatusLine()
  const marks: Mark[] = []
  let lastSource = ''
  let lastActivity = ''
  return {
    update({ source, doing, done, total }) {
      if (doing !== undefined) {
        if (doing !== lastActivity && !process.stderr.isTTY && !quiet) note(`${model}: ${doing}`)
        lastActivity = doing
        line.show(`${model}  ${doing} ...`, true)
        return
      }
      if (source !== lastSource) {
        lastSource = source
        marks.length = 0
        if (!process.stderr.isTTY && !quiet)
          note(`Downloading ${model} from ${source}${total ? ` (${size(total)})` : ''} ...`)
      }
      if (done === undefined) {
        line.show(`${model}  from ${source} ...`, true)
        return
      }
      mark(marks, done)
      line.show(`${model}  ${bar(done, total, rate(marks))}`, done === total)
    },
    end: () => line.clear(),
  }
}

/**
 * Formats a progress bar, as in `41 %  ██████        41 of 98 MB  12 MB/s  5 s left`. `perSecond`
 * is in bytes.
 */
export function bar(done: number, total: number | undefined, perSecond: number): string {
  const speed = perSecond > 0 ? `  ${size(perSecond)}/s` : ''
  if (!total) return `${size(done)}${speed}`
  const share = Math.min(1, done / total)
  const blocks = '█'.repeat(Math.round(share * 20)).padEnd(20)
  const left = perSecond > 0 && done < total ? `  ${duration((total - done) / perSecond)} left` : ''
  return `${String(Math.floor(share * 100)).padStart(3)} %  ${blocks}  ${size(done)} of ${size(total)}${speed}${left}`
}

function rate(marks: readonly Mark[]): number {
  const [first, last] = [marks[0]!, marks.at(-1)!]
  return last.at - first.at < 200 ? 0 : ((last.done - first.done) * 1000) / (last.at - first.at)
}

function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}
