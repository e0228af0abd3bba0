/**
 * Shared by commands that run a model: the engine and options from the flags, and the summary line.
 */
import { open as openFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { type CheckedModel, checkEngine, checkOnnx } from '../node/check.ts'
import {
  type AnyEngine,
  type ByteSource,
  type DoneEvent,
  defaultModel,
  type Engine,
  ForetokenError,
  fileError,
  type GenerateRequest,
  isOnnx,
  type LoadOptions,
  loadEngine,
  loadOnnx,
  type PredictorSize,
  type PullOptions,
  predictorFile,
  shippedPredictor,
} from '../node/index.ts'
import { auxiliaryName } from '../node/predictors.ts'
import { openWebGpu } from '../node/webgpu.ts'
import { assentTo } from './assent.ts'
import type { Flags } from './flags.ts'
import { UsageError } from './parse.ts'
import { loadProgress, pullProgress } from './progress.ts'
import { chunkBytesFor, loadSaved, openSaved, type SavedFile } from './saved.ts'
import { warn, writeStdout } from './terminal.ts'
import { checkIgnored, checkUse, forVectors, type Use } from './uses.ts'

export interface Loaded<E = Engine> {
  readonly model: string
  readonly engine: E
}

/** What a command asks of an engine. */
export interface Needed extends Partial<LoadOptions> {
  /** Default `answers`. */
  readonly use?: Use
  /** Which of the included predictors; default `large`. */
  readonly size?: PredictorSize
}

/** Returns options to download a model with progress on stderr. `end` clears the progress line. */
export function pulling(flags: Flags, signal: AbortSignal): { options: PullOptions; end: () => void } {
  const progress = pullProgress(flags.model ?? defaultModel, flags.json)
  const offline = flags.offline ? { offline: true } : {}
  const largest = flags['max-download']
  const limit = largest === undefined ? {} : { maxBytes: largest * 1e9 }
  // `assentTo` has asked.
  const acceptLicence = () => true
  return { options: { signal, onProgress: progress.update, acceptLicence, ...offline, ...limit }, end: progress.end }
}

/** Returns the keys of a model's configuration that the flags ignore. */
export function ignoring(flags: Flags): { ignoreConfig?: readonly string[] } {
  const keys = flags['ignore-config']
  return keys === undefined ? {} : { ignoreConfig: keys }
}

/**
 * Checks everything of `openAny` but the weights, and resolves with the memory that the model needs.
 * Fetches what is not here, after asking. Throws what `openAny` throws.
 */
export async function checkAny(flags: Flags, signal: AbortSignal, needed: Needed = {}): Promise<CheckedModel> {
  const { model = defaultModel } = flags
  if (await isOnnx(model)) return checkOnnx(model, onnxOptions(model, flags))
  requireNoReader(flags)
  return checkCore(flags, signal, needed)
}

/** Does the same as `checkAny` for `open`. */
export async function checkCore(flags: Flags, signal: AbortSignal, needed: Needed = {}): Promise<CheckedModel> {
  const model = flags.model ?? defaultModel
  await assentTo(model, flags, signal)
  const pull = pulling(flags, signal)
  try {
    const options = await engineOptions(model, flags, needed, signal)
    return await checkEngine(model, {
      pull: pull.options,
      ...options,
      ...(flags.backend === 'webgpu' && { backend: await openWebGpu() }),
    })
  } finally {
    pull.end()
  }
}

/** Opens an engine as `open` does, or ONNX Runtime for an ONNX export. */
export async function openAny(flags: Flags, signal: AbortSignal, needed: Needed = {}): Promise<Loaded<AnyEngine>> {
  const { model = defaultModel } = flags
  if (await isOnnx(model)) {
    const engine = await openOnnx(model, flags, signal)
    if (engine.answers === false && needed.use !== 'any') {
      await engine.close()
      throw forVectors(model)
    }
    warn(engine.archive)
    return { model, engine }
  }
  requireNoReader(flags)
  return open(flags, signal, needed)
}

function requireNoReader({ reader }: Flags): void {
  if (reader !== undefined) throw new UsageError('--reader works only with an ONNX model')
}

/** Flags of the Rust core. */
const coreOnly = ['backend', 'kv', 'attention', 'build', 'aux', 'prefix', 'chunk'] as const

/** Returns the options of an ONNX engine. Throws `UsageError` for flags that it does not have. */
function onnxOptions(model: string, flags: Flags) {
  const misplaced = coreOnly.find((flag) => flags[flag] !== undefined)
  if (misplaced) throw new UsageError(`--${misplaced} works only with the Rust core, and ${model} is an ONNX model`)
  if (flags.prefill === 'refined' || flags.prefill === 'auto')
    throw new UsageError(`--prefill ${flags.prefill} does not work with an ONNX model; use exact or predicted`)
  const needsReader =
    flags.predictor !== undefined ? '--predictor' : flags.prefill === 'predicted' ? '--prefill predicted' : undefined
  if (needsReader && flags.reader === undefined)
    throw new UsageError(`${needsReader} needs --reader, the same model for the Rust core`)
  if (flags['ignore-config'] !== undefined && flags.reader === undefined)
    throw new UsageError(
      `--ignore-config works only with the Rust core, and ${model} is an ONNX model, whose graph decides the computation`,
    )
  const { threads, context } = flags
  return { ...(threads !== undefined && { threads }), ...(context !== undefined && { context }) }
}

async function openOnnx(model: string, flags: Flags, signal: AbortSignal): Promise<AnyEngine> {
  const options = onnxOptions(model, flags)
  const reader = flags.reader === undefined ? undefined : await openReader(flags.reader, flags, signal, options)
  try {
    return await loadOnnx(model, { ...options, ...(reader && { reader, closesReader: true }) })
  } catch (error) {
    await reader?.close()
    throw error
  }
}

async function openReader(
  name: string,
  flags: Flags,
  signal: AbortSignal,
  options: Partial<LoadOptions>,
): Promise<Engine> {
  await assentTo(name, flags, signal)
  const predictor =
    flags.predictor === undefined ? await shippedPredictor(name, 'large') : await predictorFile(flags.predictor)
  if (predictor) return loadEngine(name, { ...options, ...ignoring(flags), predictor, onOpen: checkIgnored })
  throw new ForetokenError(
    'not_found',
    `--reader needs a predictor, and foretoken includes none for ${name}: make one with \`foretoken fit\`, and pass it with --predictor FILE`,
  )
}

/** Opens the engine that the flags select; `needed` has defaults for flags that are not set. */
export async function open(flags: Flags, signal: AbortSignal, needed: Needed = {}): Promise<Loaded> {
  const model = flags.model ?? defaultModel
  await assentTo(model, flags, signal)
  const pull = pulling(flags, signal)
  const loading = loadProgress(model)
  const saved: SavedFile[] = []
  try {
    for (const path of flags.prefix ?? []) saved.push(await openSaved(path))
    const chunkBytes = chunkBytesFor(saved)
    const options = await engineOptions(model, flags, needed, signal)
    const engine = await loadEngine(model, {
      pull: pull.options,
      ...(chunkBytes !== undefined && { chunkBytes }),
      ...options,
      ...(flags.backend === 'webgpu' && { backend: await openWebGpu() }),
      onProgress: (done, total) => {
        pull.end()
        loading.update(done, total)
      },
    })
    loading.end()
    warn(engine.archive)
    try {
      for (const file of saved) await loadSaved(engine, file)
    } catch (error) {
      await engine.close()
      throw error
    }
    return { model, engine }
  } finally {
    for (const file of saved) await file.close()
    pull.end()
    loading.end()
  }
}

/**
 * Returns the options of an engine that the flags set; `needed` has defaults for others. Asks for assent
 * to the auxiliary model, if there is one.
 */
async function engineOptions(
  model: string,
  flags: Flags,
  { use = 'answers', size = 'large', onOpen, ...needed }: Needed,
  signal: AbortSignal,
): Promise<Omit<LoadOptions, 'pull'>> {
  const predicting = await predictorOf(model, flags, size)
  const auxiliary = flags.aux ?? (await auxiliaryName(predicting.predictor ?? needed.predictor))
  if (auxiliary !== undefined) await assentTo(auxiliary, flags, signal)
  return {
    ...needed,
    ...(flags.threads !== undefined && { threads: flags.threads }),
    ...(flags.kv !== undefined && { kv: flags.kv }),
    ...(typeof flags.attention === 'string' && { attention: flags.attention }),
    ...(flags.build !== undefined && { build: flags.build }),
    ...(flags.context !== undefined && { context: flags.context }),
    ...ignoring(flags),
    ...predicting,
    ...(flags.aux !== undefined && { auxiliary: flags.aux }),
    onOpen: (archive) => {
      checkUse(model, archive, use)
      // A key may be that of the auxiliary model alone.
      if (auxiliary === undefined) checkIgnored(archive)
      onOpen?.(archive)
    },
  }
}

/** Returns the predictor that `--prefill` needs: that of --predictor, or the included one. */
async function predictorOf(model: string, flags: Flags, size: PredictorSize): Promise<{ predictor?: ByteSource }> {
  const { prefill = 'exact', predictor: path } = flags
  if (path !== undefined) return { predictor: await predictorFile(path) }
  if (prefill === 'exact') return {}
  const predictor = await shippedPredictor(model, size)
  if (predictor) return { predictor }
  // Chunks need none.
  if (flags.chunk && prefill !== 'auto') return {}
  throw new ForetokenError(
    'not_found',
    `foretoken includes no predictor for ${model}: make one with \`foretoken fit\`, and pass it with --predictor FILE`,
  )
}

export function generateOptions(flags: Flags, signal: AbortSignal): Omit<GenerateRequest, 'prompt'> {
  return {
    signal,
    // Chunks ask for refined prefill themselves.
    prefill: flags.prefill ?? (flags.chunk ? undefined : 'exact'),
    verify: verifies(flags),
    raw: flags.raw ?? false,
    maxTokens: flags['max-tokens'] === -1 ? undefined : flags['max-tokens'],
    temperature: flags.temperature,
    topK: flags['top-k'],
    topP: flags['top-p'],
    minP: flags['min-p'],
    repetitionPenalty: flags['repetition-penalty'],
    presencePenalty: flags['presence-penalty'],
    frequencyPenalty: flags['frequency-penalty'],
    seed: flags.seed,
    topLogprobs: flags['top-logprobs'],
    ignoreEos: flags['ignore-eos'] ?? false,
    ...(flags['logit-bias'] && { logitBias: logitBias(flags['logit-bias']) }),
    ...(flags.stop && { stop: flags.stop }),
  } as Omit<GenerateRequest, 'prompt'>
}

/** Whether answers may be corrected. */
export function verifies({ prefill, chunk }: Flags): boolean {
  return prefill === undefined ? chunk !== undefined : prefill === 'refined' || prefill === 'auto'
}

function logitBias(pairs: readonly string[]): Record<number, number> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const [, id, bias] = /^(\d+)=(-?\d+(?:\.\d+)?)$/.exec(pair) ?? []
      if (id === undefined) throw new UsageError(`--logit-bias takes ID=BIAS, such as 42=-100, not "${pair}"`)
      return [Number(id), Number(bias)]
    }),
  )
}

/**
 * Formats the summary of an answer, such as
 * `first token 84 ms (load 0.4 s) · 37 prompt tokens · 120 tokens/s · wasm-relaxed · exact`.
 */
export function summaryLine(done: DoneEvent): string {
  const { timings, cached_tokens, placed_tokens = 0, build } = done
  const rate = timings.decode_tokens_per_s
  const parts = [
    `first token ${Math.round(timings.ttft_ms)} ms${exactTtft(done)} (load ${(timings.load_ms / 1000).toFixed(1)} s)`,
    `${timings.prompt_tokens} prompt tokens${known([cached_tokens, 'cached'], [placed_tokens, 'placed'])}`,
    ...(timings.forced_tokens ? [`${timings.forced_tokens} of ${done.ids.length} tokens forced`] : []),
    ...(rate > 0 ? [`${rate.toFixed(rate < 100 ? 1 : 0)} tokens/s`] : []),
    build,
    cacheState(done),
  ]
  return parts.join(' · ')
}

function known(...counts: readonly (readonly [number, string])[]): string {
  const some = counts.flatMap(([count, how]) => (count > 0 ? [`${count} ${how}`] : []))
  return some.length > 0 ? ` (${some.join(', ')})` : ''
}

/** Estimates the TTFT of exact prefill from the amount of its work. */
function exactTtft({ timings, prefill_share }: DoneEvent): string {
  if (prefill_share === 1) return ''
  return `, exact about ${Math.round(timings.ttft_ms + timings.prefill_ms * (1 / prefill_share - 1))} ms`
}

function cacheState({ prefill, exact_from, verified }: DoneEvent): string {
  if (prefill === 'exact') return prefill
  if (typeof verified === 'number') return `${prefill}, corrected from token ${verified + 1}`
  if (exact_from === undefined) return verified ? `${prefill}, verified` : `${prefill}, not exact yet`
  return `${prefill}, exact from token ${exact_from + 1}${verified ? ', verified' : ''}`
}

/** Writes a file atomically, through a temporary file beside it; `-` is stdout. */
export async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  if (path === '-') return writeStdout(bytes)
  // Devices and pipes are written to directly, because they cannot be replaced.
  const there = await stat(path).catch(() => undefined)
  if (there && !there.isFile() && !there.isDirectory())
    return writeFile(path, bytes).catch((error) => {
      throw fileError(error, path)
    })
  const partial = `${path}.${process.pid}.partial`
  try {
    const handle = await openFile(partial, 'wx')
    try {
      await handle.writeFile(bytes)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(partial, path)
  } catch (error) {
    await rm(partial, { force: true })
    throw fileError(error, path)
  }
}
