/**
 * Reads a stored file in place, instead of copying it through the browser's process. Works only in
 * a worker.
 */
import { ForetokenError } from '../src/base/errors.ts'
import type { ByteSource } from '../src/index.ts'

export interface HeldSource extends ByteSource {
  /** Closes the file; until then it cannot be changed or removed. */
  close(): void
}

/**
 * Bytes per read if memory is shared or reads are small: in private browsing each read is a call
 * out of the tab.
 */
const stretchBytes = 4 << 20

/**
 * Opens a file for reading; returns undefined if another tab is writing it, or is reading it and
 * the browser allows only one reader.
 */
export async function handleSource(name: string, file: FileSystemFileHandle): Promise<HeldSource | undefined> {
  // Several tabs may read at once if the browser supports the mode.
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
        const part = stretch.subarray(at - begin, Math.min(end - begin, at - begin + into.length - done))
        into.set(part, done)
        done += part.length
      }
    },
    close: () => held.close(),
  }
}
