/** The memory that models take, that is free, and that is given back. */
import { freemem, totalmem } from 'node:os'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { weightBytes } from '../edge/budget.ts'
import { type ModelArchive, openModel } from '../src/index.ts'
import { isOnnx } from './onnx.ts'
import { modelFiles, type PullOptions } from './pull-model.ts'

/** Bytes of a pass, the tokenizer and the threads, beside the weights and the K and V. */
const besideWeights = 64e6

export interface NeededOptions {
  /** How to fetch the model if it is not here. */
  readonly pull?: PullOptions
  /** Tokens of K and V to count. Default: the model's context, at most 4,096. */
  readonly context?: number | undefined
  readonly ignoreConfig?: readonly string[]
}

/**
 * Resolves with the bytes of memory that an engine of the model takes, about: its weights, and K and V
 * of one context in f32. Reads only the model's header. Throws what pulling and opening throw.
 */
export async function neededBytes(name: string, options: NeededOptions = {}): Promise<number> {
  const files = await modelFiles(name, options.pull)
  try {
    if (await isOnnx(name)) {
      const sizes = await Promise.all(files.files.map(async (file) => (await files.open(file)).size))
      return sizes.reduce((sum, bytes) => sum + bytes, besideWeights)
    }
    const { ignoreConfig } = options
    return memoryOfArchive(await openModel(files, ignoreConfig ? { ignoreConfig } : {}), options.context)
  } finally {
    await files.close()
  }
}

/** Returns the bytes of memory that an engine of an opened model takes, with `context` tokens of K and V. */
export function memoryOfArchive({ tensors, config }: ModelArchive, context?: number): number {
  const { layers, kvHeads, headDim, maxContext } = config
  const tokens = Math.min(context ?? 4096, maxContext)
  const kv = layers * kvHeads * headDim * 2 * 4 * tokens
  return [...tensors.values()].reduce((sum, tensor) => sum + weightBytes(tensor), kv + besideWeights)
}

/** Returns the bytes of memory that a program may take, as the system or its container says. */
export function availableMemory(): number {
  return Math.min(freemem(), process.availableMemory?.() ?? Number.POSITIVE_INFINITY)
}

/**
 * Returns the bytes of memory above which a model can't be loaded. Only Linux says how much programs
 * may take; elsewhere caches count as used, so that all of the memory is the limit.
 */
export function loadableMemory(): number {
  return process.platform === 'linux' ? availableMemory() : totalmem()
}

let collect: (() => void) | undefined

/**
 * Gives memory that nobody refers to back to the system now. V8 frees the memory of a Wasm module
 * when it collects garbage, and a server that is idle makes none for hours.
 */
export function reclaimMemory(): void {
  if (!collect) {
    setFlagsFromString('--expose-gc')
    collect = runInNewContext('gc') as () => void
    setFlagsFromString('--no-expose-gc')
  }
  collect()
}
