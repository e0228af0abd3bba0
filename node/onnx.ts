/**
 * Loads ONNX exports from disk with the installed ONNX Runtime: the native one, or else the one for
 * the web.
 */
import { readFile, stat } from 'node:fs/promises'
import { basename, dirname, extname, join, resolve } from 'node:path'
import { ForetokenError, OrtEngine, type OrtEngineOptions, type OrtModule } from '../src/index.ts'
import { families } from '../src/model/families/index.ts'
import { requireWhole } from '../src/onnx/frame.ts'
import { nodeText } from '../workers/node.ts'
import { defaultThreads } from './cores.ts'
import { fileError } from './disk.ts'
import { loadGuides } from './guides.ts'
import { folderFiles, type OpenModelFiles } from './model-files.ts'
import { textWorker } from './workers.ts'

export interface OnnxOptions extends Partial<OrtEngineOptions> {
  readonly threads?: number
  /**
   * The ONNX Runtime to use. Default: `node` (onnxruntime-node) if it is installed, else `web`
   * (onnxruntime-web, in Wasm).
   */
  readonly runtime?: 'node' | 'web'
}

/**
 * Returns true if a model's name is the path of an export: an .onnx file, or a folder that has one
 * and no other weights of a model that the Rust core runs. Dense layers behind an encoder lie in a
 * folder of their own.
 */
export async function isOnnx(name: string): Promise<boolean> {
  const found = await stat(name).catch(() => undefined)
  if (!found) return false
  if (found.isFile()) return extname(name) === '.onnx'
  const { files } = await folderFiles(name).catch(() => ({ files: [] as readonly string[] }))
  const has = (ending: RegExp) => files.some((file) => ending.test(file))
  if (!has(/\.onnx$/) || has(/^[^/]*\.(gguf|foretoken)$/)) return false
  return !has(/^[^/]*\.safetensors$/) || !(await isFamily(join(name, 'config.json')))
}

/** Returns whether a folder's config.json names a family of the Rust core; true if it cannot be read. */
async function isFamily(config: string): Promise<boolean> {
  const text = await readFile(config, 'utf8').catch(() => undefined)
  try {
    const { model_type: type } = JSON.parse(text ?? '{}')
    return typeof type !== 'string' || families.some(({ huggingFace }) => huggingFace?.name === type)
  } catch {
    return true
  }
}

/**
 * Loads an engine for an export. Throws what `OrtEngine.load` throws, and `unsupported` if no ONNX
 * Runtime is installed.
 */
export async function loadOnnx(path: string, options: OnnxOptions = {}): Promise<OrtEngine> {
  const { threads = defaultThreads(), runtime, ...rest } = options
  const ort = options.ort ? { ort: options.ort } : await installed(runtime, threads)
  const files = await exportFiles(path)
  try {
    // A runtime says of a graph that was cut off only that it can't read it.
    if (!options.ort) await requireWhole(files)
    return await OrtEngine.load(files, { spawnText: nodeText(textWorker), guides: loadGuides, ...ort, ...rest })
  } finally {
    await files.close()
  }
}

/** Throws what `loadOnnx` throws if no runtime is installed. */
export async function requireRuntime({ runtime, ort, threads = defaultThreads() }: OnnxOptions): Promise<void> {
  if (!ort) await installed(runtime, threads)
}

type Runtime = Pick<OrtEngineOptions, 'ort' | 'executionProviders' | 'sessionOptions'>

async function installed(wanted: OnnxOptions['runtime'], threads: number): Promise<Runtime> {
  const native = wanted === 'web' ? undefined : await imported('onnxruntime-node')
  if (native)
    return {
      ort: native,
      executionProviders: ['cpu'],
      sessionOptions: { intraOpNumThreads: threads, interOpNumThreads: 1 },
    }
  const web = wanted === 'node' ? undefined : await imported('onnxruntime-web')
  if (web) {
    web.env.wasm.numThreads = threads
    return { ort: web, executionProviders: ['wasm'] }
  }
  const names = wanted ? `onnxruntime-${wanted} is` : 'neither onnxruntime-node nor onnxruntime-web is'
  throw new ForetokenError(
    'unsupported',
    `${names} installed, and an ONNX model needs it: npm install onnxruntime-${wanted ?? 'node'}`,
  )
}

async function imported(name: string): Promise<(OrtModule & { env: { wasm: { numThreads: number } } }) | undefined> {
  const module = await import(name).catch(() => undefined)
  return module?.InferenceSession ? module : module?.default
}

/**
 * Returns the files of an export. For an .onnx file, these are the files of its folder without the
 * other .onnx files.
 */
export async function exportFiles(path: string): Promise<OpenModelFiles> {
  const at = resolve(path)
  const found = await stat(at).catch((error) => {
    throw fileError(error, path)
  })
  if (!found.isFile()) return folderFiles(at)
  const [file, parent] = [basename(at), dirname(at)]
  const folder = basename(parent) === 'onnx' ? dirname(parent) : parent
  const named = folder === parent ? file : `onnx/${file}`
  const all = await folderFiles(folder)
  return { ...all, files: all.files.filter((name) => !name.endsWith('.onnx') || name === named) }
}
