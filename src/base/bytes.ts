/** Sources of bytes, and arrays joined into one. */

/** Bytes with random access: a file, an HTTP range server, a Blob, an R2 object, or a buffer. */
export interface ByteSource {
  /** Path or URL, for messages. */
  readonly name: string
  /** Size in bytes. */
  readonly size: number
  /**
   * Fills `into` with the bytes at `offset`. `into` may be a view of wasm memory. Rejects with a
   * ForetokenError (`io`, `network`) when it can't be filled whole.
   */
  read(offset: number, into: Uint8Array): Promise<void>
}

/** A model as named files. */
export interface ModelFiles {
  readonly name: string
  /** File names, relative, such as `model.gguf` or `config.json`. */
  readonly files: readonly string[]
  /** Opens a file. Rejects with `not_found` for a name that is not in the list. */
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
