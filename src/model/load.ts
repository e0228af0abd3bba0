/** Streams a model's weights from its files into a backend. */
import type { Backend, Tensor, Weight } from '../backend/backend.ts'
import { defined } from '../base/at.ts'
import { throwIfAborted } from '../base/cancelled.ts'
import { ForetokenError } from '../base/errors.ts'
import { halfToFloat } from '../base/half.ts'
import type { ModelArchive, TensorInfo } from '../base/model.ts'
import { nextTurn } from '../base/next-turn.ts'
import { FiniteCheck } from './finite.ts'
import { WeightIdentity } from './identity.ts'

/** Bytes asked of a source at once. */
const pieceBytes = 1 << 20

/**
 * Bytes that are read between two turns of the host's event loop: sources may answer at once, and a
 * signal must be heard.
 */
const turnBytes = 16 << 20

/** All weights of a model: matrices by name, vectors by name. */
export interface LoadedWeights {
  matrix(name: string): Weight
  vector(name: string): Tensor
  /** Returns undefined if the model has no such tensor. */
  optionalVector(name: string): Tensor | undefined
  /** The biases of K by name, as numbers: they tell how pages hold K, see key-balance.ts. */
  readonly keyBiases: ReadonlyMap<string, Float32Array>
  /** Distinguishes these weights from others of the same shapes, see `WeightIdentity`. */
  readonly identity: string
}

export interface LoadOptions {
  /** Called with the bytes that were read and the total: after each tensor, and while a large one is read. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Throws `out_of_memory` if the weights and `beside` bytes of activations can't fit, before
 * anything is read.
 */
export function expectWeights(backend: Backend, { tensors }: ModelArchive, beside: number): void {
  const specs = [...tensors.values()].map(({ name, type, rows, cols }) => ({ name, type, n: rows, k: cols }))
  backend.expectWeights(specs, beside)
}

/**
 * Reads every tensor in file order. Throws `aborted`, and `bad_model` for a tensor that holds NaN
 * or an infinity.
 */
export async function loadWeights(
  backend: Backend,
  archive: ModelArchive,
  { onProgress, signal }: LoadOptions = {},
): Promise<LoadedWeights> {
  const matrices = new Map<string, Weight>()
  const vectors = new Map<string, Tensor>()
  const keyBiases = new Map<string, Float32Array>()
  const ordered = inFileOrder(archive)
  const total = ordered.reduce((sum, [, tensor]) => sum + tensor.bytes, 0)
  const identity = new WeightIdentity()
  const turns = new Turns(signal)
  let done = 0
  for (const [name, tensor] of ordered) {
    throwIfAborted(signal)
    if (tensor.rows === 1) {
      const values = await readVector(tensor, identity)
      vectors.set(name, backend.vector(values))
      if (name.endsWith('.kBias')) keyBiases.set(name, values)
    } else {
      const before = done
      const onRead = (bytes: number) => onProgress?.(before + bytes, total)
      matrices.set(name, await readMatrix(backend, tensor, identity, { turns, onRead }))
    }
    done += tensor.bytes
    onProgress?.(done, total)
  }
  return {
    matrix: (name) => known(matrices, name),
    vector: (name) => known(vectors, name),
    optionalVector: (name) => vectors.get(name),
    keyBiases,
    identity: await identity.finish(archive.fingerprint),
  }
}

/** Returns the identity of a model's weights without loading them. Reads all of them. */
export async function identityOf(archive: ModelArchive): Promise<string> {
  const identity = new WeightIdentity()
  const turns = new Turns()
  for (const [, { rows, source, offset, bytes }] of inFileOrder(archive)) {
    const samples = rows === 1 ? undefined : identity.matrix(bytes, bytes / rows)
    for (let at = 0; at < bytes; ) {
      const piece = new Uint8Array(samples ? Math.min(pieceBytes, bytes - at) : bytes)
      await source.read(offset + at, piece)
      if (samples) samples.add(piece)
      else identity.vector(piece)
      at += piece.length
      await turns.after(piece.length)
    }
  }
  return identity.finish(archive.fingerprint)
}

function inFileOrder({ tensors }: ModelArchive): [string, TensorInfo][] {
  return [...tensors].sort(([, a], [, b]) => a.offset - b.offset)
}

/** Lets the host's event loop run now and then while bytes are read. */
class Turns {
  readonly #signal: AbortSignal | undefined
  #bytes = 0

  constructor(signal?: AbortSignal) {
    this.#signal = signal
  }

  /** Resolves with true if the host had a turn. Throws `aborted`. */
  async after(bytes: number): Promise<boolean> {
    this.#bytes += bytes
    if (this.#bytes < turnBytes) return false
    this.#bytes = 0
    await nextTurn(this.#signal)
    return true
  }
}

async function readMatrix(
  backend: Backend,
  tensor: TensorInfo,
  identity: WeightIdentity,
  { turns, onRead }: { readonly turns: Turns; readonly onRead: (bytes: number) => void },
): Promise<Weight> {
  const { name, type, rows, cols, source, offset, bytes } = tensor
  const writer = backend.weight({ name, type, n: rows, k: cols })
  const samples = identity.matrix(bytes, bytes / rows)
  const finite = new FiniteCheck(tensor)
  for (let at = 0; at < bytes; ) {
    const into = writer.reserve(Math.min(pieceBytes, bytes - at))
    // Without progress this loop would have no end.
    if (into.length === 0)
      throw new ForetokenError('internal', `${name}: no memory to read byte ${at} of ${bytes} into`)
    await source.read(offset + at, into)
    samples.add(into)
    finite.add(into)
    writer.commit(into.length)
    at += into.length
    // The table of the vocabulary may be a third of the file.
    if ((await turns.after(into.length)) && at < bytes) onRead(at)
  }
  return writer.finish()
}

/**
 * Reads a norm or bias as f32; the supported formats never quantise these. Throws `bad_model`,
 * `unsupported`.
 */
export function vectorOf(tensor: TensorInfo): Promise<Float32Array> {
  return readVector(tensor)
}

/** Does what `vectorOf` does, and adds its bytes to the model's identity. */
async function readVector(tensor: TensorInfo, identity?: WeightIdentity): Promise<Float32Array> {
  const { name, type, cols, source, offset, bytes, plus, columns } = tensor
  const raw = new Uint8Array(bytes)
  await source.read(offset, raw)
  identity?.vector(raw)
  const view = new DataView(raw.buffer)
  const values = new Float32Array(cols)
  if (type === 'f32') for (let i = 0; i < cols; i++) values[i] = view.getFloat32(i * 4, true)
  else if (type === 'bf16')
    new Uint32Array(values.buffer).forEach((_, i, bits) => {
      bits[i] = view.getUint16(i * 2, true) << 16
    })
  else if (type === 'f16') for (let i = 0; i < cols; i++) values[i] = halfToFloat(view.getUint16(i * 2, true))
  else throw new ForetokenError('unsupported', `${name}: a vector of type ${type}; expected f32, f16 or bf16`)
  if (!values.every(Number.isFinite))
    throw new ForetokenError(
      'bad_model',
      `${name} (${type}) holds a value that is not finite: the file is damaged, or was converted wrongly; get it again`,
    )
  if (plus !== undefined) return values.map((value) => value + plus)
  return columns === undefined ? values : byColumns(values, columns)
}

/** Returns the values of a matrix of that many columns, given row by row, column by column. */
function byColumns(values: Float32Array, columns: number): Float32Array {
  const rows = values.length / columns
  return values.map((_, i) => defined(values[(i % rows) * columns + Math.floor(i / rows)]))
}

function known<T>(map: ReadonlyMap<string, T>, name: string): T {
  const value = map.get(name)
  if (value === undefined) throw new ForetokenError('bad_model', `the model has no tensor ${name}`)
  return value
}
