/** Where the bytes of models come from. */

/** A random-access run of bytes: a file, an HTTP range server, a Blob, an R2 object, a buffer. */
export interface ByteSource {
  /** For messages: a path or URL. */
  readonly name: string
  /** Total bytes. */
  readonly size: number
  /**
   * Fills `into` with the bytes at `offset`. Callers may pass a view of wasm memory; it is filled whole
   * or the promise rejects with a ForetokenError (`io`, `network`).
   */
  read(offset: number, into: Uint8Array): Promise<void>
}

/** One model as named files; `open` rejects with `not_found` for a name that is not there. */
export interface ModelFiles {
  readonly name: string
  /** File names, relative, such as `model.gguf` or `config.json`. */
  readonly files: readonly string[]
  open(file: string): Promise<ByteSource>
}
