/**
 * Writes as much of Protocol Buffers' wire format as an ONNX file needs
 * (protobuf.dev/programming-guides/encoding).
 */

/** A message: its fields in order, as pieces of bytes. */
export class Message {
  readonly parts: Uint8Array[] = []
  bytes = 0

  int(field: number, value: number): this {
    return this.#add(varint(field << 3), varint(value))
  }

  float(field: number, value: number): this {
    return this.#add(varint((field << 3) | 5), new Uint8Array(Float32Array.of(value).buffer))
  }

  text(field: number, value: string): this {
    return this.raw(field, new TextEncoder().encode(value))
  }

  raw(field: number, value: Uint8Array): this {
    return this.#add(varint((field << 3) | 2), varint(value.length), value)
  }

  message(field: number, value: Message): this {
    return this.#add(varint((field << 3) | 2), varint(value.bytes), ...value.parts)
  }

  whole(): Uint8Array {
    const all = new Uint8Array(this.bytes)
    let at = 0
    for (const part of this.parts) {
      all.set(part, at)
      at += part.length
    }
    return all
  }

  #add(...parts: Uint8Array[]): this {
    for (const part of parts) {
      this.parts.push(part)
      this.bytes += part.length
    }
    return this
  }
}

/** Writes a varint; negative numbers need ten bytes, as int64. */
function varint(value: number): Uint8Array {
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, BigInt(value))
  do {
    const low = Number(rest & 127n)
    rest >>= 7n
    bytes.push(rest > 0n ? low | 128 : low)
  } while (rest > 0n)
  return Uint8Array.from(bytes)
}
