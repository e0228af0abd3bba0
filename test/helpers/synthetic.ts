/** Large files that are generated when read, and count the bytes read. */

import type { ByteSource } from '../../src/base/bytes.ts'
import { joinBytes } from '../../src/base/bytes.ts'

/** A run of bytes: given literally, or one piece repeated. */
export type Run = Uint8Array | { readonly piece: Uint8Array; readonly times: number }

export interface CountedSource extends ByteSource {
  /** Number of bytes read so far. */
  readonly read_bytes: number
}

export function synthetic(name: string, runs: readonly Run[]): CountedSource {
  const parts = runs.map((run) => ('piece' in run ? run : { piece: run, times: 1 }))
  const lengths = parts.map(({ piece, times }) => piece.length * times)
  let count = 0
  return {
    name,
    size: lengths.reduce((sum, length) => sum + length, 0),
    get read_bytes() {
      return count
    },
    async read(offset, into) {
      count += into.length
      let from = 0
      parts.forEach(({ piece }, i) => {
        const end = from + lengths[i]!
        let at = Math.max(offset, from)
        while (at < Math.min(end, offset + into.length)) {
          const within = (at - from) % piece.length
          const take = piece.subarray(within, within + Math.min(end, offset + into.length) - at)
          into.set(take, at - offset)
          at += take.length
        }
        from = end
      })
    },
  }
}

export function text(value: string): Uint8Array {
  return new TextEncoder().encode(value)
}

export function numbers(...values: readonly (readonly [bytes: 4 | 8, value: number])[]): Uint8Array {
  const out = new Uint8Array(values.reduce((sum, [bytes]) => sum + bytes, 0))
  const view = new DataView(out.buffer)
  let at = 0
  for (const [bytes, value] of values) {
    view.setUint32(at, value % 2 ** 32, true)
    if (bytes === 8) view.setUint32(at + 4, Math.floor(value / 2 ** 32), true)
    at += bytes
  }
  return out
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return joinBytes(parts)
}
