/** Writes safetensors files of float32 tensors. */

export interface F32Tensor {
  readonly shape: readonly number[]
  readonly data: Float32Array
}

export function safetensors(tensors: ReadonlyMap<string, F32Tensor>): Uint8Array {
  let end = 0
  const header: Record<string, unknown> = {}
  for (const [name, { shape, data }] of tensors)
    header[name] = { dtype: 'F32', shape, data_offsets: [end, (end += data.byteLength)] }
  let text = JSON.stringify(header)
  text += ' '.repeat((8 - (text.length % 8)) % 8)
  const out = new Uint8Array(8 + text.length + end)
  new DataView(out.buffer).setUint32(0, text.length, true)
  out.set(new TextEncoder().encode(text), 8)
  let at = 8 + text.length
  for (const { data } of tensors.values()) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at)
    at += data.byteLength
  }
  return out
}
