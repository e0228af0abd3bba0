/** The memory that models take, that is free, and that is given back. */
import { freemem, totalmem } from 'node:os'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { weightBytes } from '../edge/budget.ts'
import { type KvType, pageLayout, pageTokens } from '../src/base/kv.ts'
import { defaultContext } from '../src/engine/options.ts'
import { noRoom } from '../src/engine/pool-slot.ts'
import { type ModelArchive, openModel } from '../src/index.ts'
import { specOf } from '../src/model/families/index.ts'
import { graphBytes } from '../src/onnx/folder.ts'
import { exportFiles, isOnnx } from './onnx.ts'
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
  if (await isOnnx(name)) return neededByExport(name)
  const files = await modelFiles(name, options.pull)
  try {
    const { ignoreConfig } = options
    return memoryOfArchive(await openModel(files, ignoreConfig ? { ignoreConfig } : {}), options.context)
  } finally {
    await files.close()
  }
}

async function neededByExport(name: string): Promise<number> {
  const files = await exportFiles(name)
  try {
    return neededByWeights(await graphBytes(files)).bytes
  } finally {
    await files.close()
  }
}

/** The memory that a model takes, about. */
export interface NeededMemory {
  readonly bytes: number
  /** What to do where `free` bytes are too few. */
  advice(free: number): string
}

const smaller = 'use a smaller model, or one in fewer bits'

/** Returns the memory of an ONNX model whose graph and weights take `bytes`. */
export function neededByWeights(bytes: number): NeededMemory {
  return { bytes: bytes + besideWeights, advice: () => smaller }
}

/** The fewest tokens of context that are worth a try. */
const leastContext = 64

/** Returns the memory of an engine of an opened model, with `context` tokens of K and V. */
export function neededByArchive(archive: ModelArchive, context: number, kv: KvType = 'f32'): NeededMemory {
  const { tensors, config } = archive
  const perToken = pageLayout(specOf(config), kv).bytes / pageTokens
  const weights = [...tensors.values()].reduce((sum, tensor) => sum + weightBytes(tensor), besideWeights)
  const advice = (free: number) => {
    const fits = Math.floor((free - weights) / perToken)
    if (fits < Math.min(leastContext, context) || fits >= context) return smaller
    const fewer = kv === 'int8' ? '' : ' or store K and V in int8,'
    return `the context takes ${perToken} bytes of K and V for each of its ${context} tokens: load with a context of at most ${fits},${fewer} or ${smaller}`
  }
  return { bytes: weights + context * perToken, advice }
}

/** Returns the bytes of memory that an engine of an opened model takes, with `context` tokens of K and V. */
export function memoryOfArchive(archive: ModelArchive, context?: number): number {
  return neededByArchive(archive, Math.min(context ?? defaultContext, archive.config.maxContext)).bytes
}

/** Throws `out_of_memory` for a model that has no room even if no other is loaded. */
export function requireMemory(name: string, { bytes, advice }: NeededMemory): void {
  const free = loadableMemory()
  if (bytes > free) throw noRoom({ name, advice }, { bytes, free, held: 0 })
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
