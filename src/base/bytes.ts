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

/** Returns the parts as one array, in order. */
export function joinBytes(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return filled(new Uint8Array(lengthOf(parts)), parts)
}

/** Returns the parts as one array, in order. */
export function joinFloats(parts: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  return filled(new Float32Array(lengthOf(parts)), parts)
}

function lengthOf(parts: readonly { readonly length: number }[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0)
}

function filled<A extends { set(part: ArrayLike<number>, at: number): void }>(
  all: A,
  parts: readonly ArrayLike<number>[],
): A {
  let end = 0
  for (const part of parts) {
    all.set(part, end)
    end += part.length
  }
  return all
}
