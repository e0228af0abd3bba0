/**
 * Types of the File System standard that TypeScript's DOM types lack: writing in a worker
 * (https://fs.spec.whatwg.org/#api-filesystemsyncaccesshandle).
 */
interface FileSystemSyncAccessHandle {
  read(into: Uint8Array, options?: { at?: number }): number
  write(bytes: Uint8Array, options?: { at?: number }): number
  truncate(size: number): void
  getSize(): number
  flush(): void
  close(): void
}

interface FileSystemFileHandle {
  createSyncAccessHandle(options?: { mode?: 'readwrite' | 'read-only' }): Promise<FileSystemSyncAccessHandle>
}
