/** Reads and frees tensors of ONNX Runtime. */
import { ForetokenError } from '../base/errors.ts'
import type { OrtTensor } from './runtime.ts'

/** The outputs of a step, by name. */
export type Outputs = Readonly<Record<string, OrtTensor>>

/** Frees tensors, which may lie on a GPU. */
export function disposeAll(tensors: Iterable<OrtTensor>): void {
  for (const tensor of tensors) tensor.dispose?.()
}

/** Returns an output. Throws `bad_model` if the model did not produce it. */
export function outputOf(outputs: Outputs, name: string): OrtTensor {
  const output = outputs[name]
  if (output) return output
  throw new ForetokenError('bad_model', `the model gave no output ${name}; export it again for text generation`)
}

/** Reads the logits of a step, and the size of the vocabulary. Throws `bad_model`. */
export async function logitsOf(outputs: Outputs): Promise<{ readonly logits: Float32Array; readonly vocab: number }> {
  const output = outputOf(outputs, 'logits')
  const vocab = output.dims.at(-1) ?? 0
  return { logits: await floatsOf(output), vocab }
}

/** Reads the values of an output, which may be in half precision, and frees it on a GPU. */
export async function floatsOf(tensor: OrtTensor): Promise<Float32Array> {
  const data = tensor.getData ? await tensor.getData(true) : tensor.data
  if (data instanceof Float32Array) return data
  if (data instanceof Uint16Array) {
    const Half = float16Array()
    if (Half) return Float32Array.from(new Half(data.buffer, data.byteOffset, data.length))
  }
  return Float32Array.from(data as ArrayLike<number>)
}

/**
 * Returns the bits of values in half precision. Throws `unsupported` in a host without
 * Float16Array.
 */
export function halves(values: Float32Array): unknown {
  const Half = float16Array()
  if (!Half)
    throw new ForetokenError(
      'unsupported',
      'K and V in float16 need a runtime with Float16Array; take an export in float32',
    )
  // Newer versions of ONNX Runtime take a Float16Array, older ones its bits; both take the bits.
  return new Uint16Array(Half.from(values).buffer)
}

interface HalfArray {
  new (buffer: ArrayBufferLike, at: number, length: number): ArrayLike<number>
  from(values: ArrayLike<number>): { readonly buffer: ArrayBuffer }
}

/** Returns the host's Float16Array; undefined in older hosts. */
function float16Array(): HalfArray | undefined {
  const { Float16Array: Half }: { readonly Float16Array?: unknown } = globalThis
  return typeof Half === 'function' ? (Half as unknown as HalfArray) : undefined
}
