/**
 * A browser's private file system in memory: one write handle at a time, and no removal of open
 * files.
 */

interface Content {
  bytes: Uint8Array
  modified: number
  held: boolean
}

export interface FakeFolder {
  readonly handle: FileSystemDirectoryHandle
  readonly files: ReadonlyMap<string, Content>
  /** Maximum size of all files together, in bytes; may be changed. */
  quota: number
  /** The clock for modification times. */
  now: number
}

export function fakeFolder(): FakeFolder {
  const files = new Map<string, Content>()
  const fake: FakeFolder = { handle: undefined as never, files, quota: Infinity, now: 0 }
  const missing = () => new DOMException('there is none', 'NotFoundError')
  const used = () => [...files.values()].reduce((sum, { bytes }) => sum + bytes.length, 0)
  const fileHandle = (name: string) => ({
    kind: 'file',
    name,
    async getFile() {
      const content = files.get(name)
      if (!content) throw missing()
      return new File([content.bytes.slice()], name, { lastModified: content.modified })
    },
    async createSyncAccessHandle() {
      const content = files.get(name)
      if (!content) throw missing()
      if (content.held) throw new DOMException('held', 'NoModificationAllowedError')
      content.held = true
      return accessTo(content)
    },
  })
  const accessTo = (content: Content) => ({
    getSize: () => content.bytes.length,
    read(into: Uint8Array, { at = 0 } = {}) {
      const some = content.bytes.subarray(at, at + into.length)
      into.set(some)
      return some.length
    },
    write(bytes: Uint8Array, { at = 0 } = {}) {
      const more = Math.max(0, at + bytes.length - content.bytes.length)
      // A full disk accepts a part.
      const taken = bytes.subarray(0, bytes.length - Math.max(0, used() + more - fake.quota))
      const grown = new Uint8Array(Math.max(content.bytes.length, at + taken.length))
      grown.set(content.bytes)
      grown.set(taken, at)
      content.bytes = grown
      content.modified = fake.now
      return taken.length
    },
    truncate(size: number) {
      const cut = new Uint8Array(size)
      cut.set(content.bytes.subarray(0, size))
      content.bytes = cut
    },
    flush() {},
    close() {
      content.held = false
    },
  })
  const handle = {
    async getFileHandle(name: string, { create = false } = {}) {
      if (!files.has(name)) {
        if (!create) throw missing()
        files.set(name, { bytes: new Uint8Array(), modified: fake.now, held: false })
      }
      return fileHandle(name)
    },
    async removeEntry(name: string) {
      if (!files.has(name)) throw missing()
      if (files.get(name)!.held) throw new DOMException('held', 'NoModificationAllowedError')
      files.delete(name)
    },
    async *keys() {
      yield* files.keys()
    },
  }
  return Object.assign(fake, { handle: handle as unknown as FileSystemDirectoryHandle })
}
