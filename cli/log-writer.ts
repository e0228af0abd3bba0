/**
 * Lines of a log on stdout. A reader that stands still (a full pipe) must not grow this process: what it does not take is dropped, and
 * counted in the first line that goes out after it.
 */
import type { Writable } from 'node:stream'

/** What may wait to be read. */
const mostBytes = 1 << 20

export function logWriter(out: Writable = process.stdout): (line: object) => void {
  let dropped = 0
  return (line) => {
    if (out.writableLength > mostBytes) {
      dropped++
      return
    }
    out.write(`${JSON.stringify(dropped > 0 ? { ...line, dropped_lines: dropped } : line)}\n`)
    dropped = 0
  }
}
