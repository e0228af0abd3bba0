/** A kept file as a source of weights, read in place of by copies through the browser's process. For a worker alone. */
import { type ByteSource, ForetokenError } from '../src/index.ts'

export interface HeldSource extends ByteSource {
  /** Until then nobody can change or remove the file. */
  close(): void
}

/** Bytes that are read at once, where memory is shared or a reading is small: each costs a call out of the tab in private browsing. */
const stretchBytes = 4 << 20

/** Undefined where another tab writes the file, or the browser lets only one read it and another does. */
export async function handleSource(name: string, file: FileSystemFileHandle): Promise<HeldSource | undefined> {
  // Several tabs may read at once, where the browser knows the mode.
  const held = await file.createSyncAccessHandle({ mode: 'read-only' }).catch(() => undefined)
  if (!held) return undefined
  const size = held.getSize()
  const stretch = new Uint8Array(Math.min(stretchBytes, size))
  let [begin, end] = [0, 0]
  const fill = (offset: number) => {
    begin = offset
    end = offset + held.read(stretch, { at: offset })
    if (end === begin) throw new ForetokenError('io', `${name} ends at byte ${offset} of ${size}; load the model again`)
  }
  return {
    name,
    size,
    async read(offset, into) {
      if (offset + into.length > size)
        throw new ForetokenError('io', `${name}: bytes ${offset}..${offset + into.length} of ${size} were asked for`)
      for (let done = 0; done < into.length; ) {
        const at = offset + done
        if (at < begin || at >= end) fill(at)
        const some = stretch.subarray(at - begin, Math.min(end - begin, at - begin + into.length - done))
        into.set(some, done)
        done += some.length
      }
    },
    close: () => held.close(),
  }
}
