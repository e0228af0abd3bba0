/** What commands that run a model have in common: the engine from the flags, the options of an answer, the last line. */
import { open as openFile, readFile, rename, rm } from 'node:fs/promises'
import { openWebGpu } from '../companion/webgpu/node.ts'
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
  type PullOptions,
  predictorFile,
  shippedPredictor,
} from '../node/index.ts'
import type { Flags } from './flags.ts'
import { UsageError } from './parse.ts'
import { pullProgress } from './progress.ts'
import { StatusLine, warn } from './terminal.ts'

export interface Loaded<E = Engine> {
  readonly model: string
  readonly engine: E
}

/** How a model is fetched, with its progress on stderr. `end` clears the line. */
export function pulling(flags: Flags, signal: AbortSignal): { options: PullOptions; end: () => void } {
  const progress = pullProgress(flags.model ?? defaultModel, flags.json)
  const offline = flags.offline ? { offline: true } : {}
  const largest = flags['max-download']
  const limit = largest === undefined ? {} : { maxBytes: largest * 1e9 }
  return { options: { signal, onProgress: progress.update, ...offline, ...limit }, end: progress.end }
}

/** As `open`; an ONNX export runs in ONNX Runtime. */
export async function openAny(
  flags: Flags,
  signal: AbortSignal,
  needed: Partial<LoadOptions> = {},
): Promise<Loaded<AnyEngine>> {
  const { model = defaultModel } = flags
  if (await isOnnx(model)) {
    const engine = await openOnnx(model, flags)
    warn(engine.archive)
    return { model, engine }
  }
  if (flags.reader !== undefined) throw new UsageError('--reader is for an ONNX model, and reads prompts for it')
  return open(flags, signal, needed)
}

/** What only the Rust core has. */
const coreOnly = ['backend', 'kv', 'attention', 'build', 'aux', 'prefix'] as const

async function openOnnx(model: string, flags: Flags): Promise<AnyEngine> {
  const misplaced = coreOnly.find((flag) => flags[flag] !== undefined)
  if (misplaced) throw new UsageError(`--${misplaced} is for the Rust core, and ${model} is an ONNX model`)
  if (flags.prefill === 'refined' || flags.prefill === 'auto')
    throw new UsageError(`--prefill ${flags.prefill}: an ONNX cache is not refined; use exact or predicted`)
  if (flags.predictor !== undefined && flags.reader === undefined)
    throw new UsageError(`--predictor predicts in the Rust core: name the same model for it with --reader`)
  const { threads, context } = flags
  const options = { ...(threads !== undefined && { threads }), ...(context !== undefined && { context }) }
  const reader = flags.reader === undefined ? undefined : await openReader(flags.reader, flags, options)
  try {
    return await loadOnnx(model, { ...options, ...(reader && { reader, closesReader: true }) })
  } catch (error) {
    await reader?.close()
    throw error
  }
}

async function openReader(name: string, flags: Flags, options: Partial<LoadOptions>): Promise<Engine> {
  const predictor = flags.predictor === undefined ? await shippedPredictor(name) : await predictorFile(flags.predictor)
  if (predictor) return loadEngine(name, { ...options, predictor })
  throw new ForetokenError(
    'not_found',
    `no predictor ships for ${name}, and a reader predicts: make one with \`foretoken fit\`, and name it with --predictor FILE`,
  )
}

/** The engine that the flags ask for; `needed` holds what they don't say. */
export async function open(flags: Flags, signal: AbortSignal, needed: Partial<LoadOptions> = {}): Promise<Loaded> {
  if (flags.backend === 'llama')
    throw new UsageError('--backend llama is for `foretoken companion`, which relays its answers')
  const model = flags.model ?? defaultModel
  const pull = pulling(flags, signal)
  const line = new StatusLine()
  try {
    const engine = await loadEngine(model, {
      pull: pull.options,
      ...needed,
      ...(flags.threads !== undefined && { threads: flags.threads }),
      ...(flags.kv !== undefined && { kv: flags.kv }),
      ...(flags.build !== undefined && { build: flags.build }),
      ...(flags.attention !== undefined && { attention: flags.attention }),
      ...(flags.context !== undefined && { context: flags.context }),
      ...(await predictorOf(model, flags)),
      ...(flags.backend === 'webgpu' && { backend: await openWebGpu() }),
      ...(flags.aux !== undefined && { auxiliary: flags.aux }),
      onProgress: (done, total) => {
        pull.end()
        line.show(`loading ${model}  ${Math.floor((100 * done) / total)} %`)
      },
    })
    line.clear()
    warn(engine.archive)
    if (flags.prefix !== undefined) await engine.loadPrefix(await readBytes(flags.prefix))
    return { model, engine }
  } finally {
    pull.end()
    line.clear()
  }
}

/** The predictor that `--prefill` needs: the one named, or the one that ships for the model. */
async function predictorOf(model: string, flags: Flags): Promise<{ predictor?: ByteSource }> {
  const { prefill = 'exact', predictor: path } = flags
  if (path !== undefined) return { predictor: await predictorFile(path) }
  if (prefill === 'exact') return {}
  const predictor = await shippedPredictor(model)
  if (predictor) return { predictor }
  throw new ForetokenError(
    'not_found',
    `no predictor ships for ${model}: make one with \`foretoken fit\`, and name it with --predictor FILE`,
  )
}

export function generateOptions(flags: Flags, signal: AbortSignal): Omit<GenerateRequest, 'prompt'> {
  return {
    signal,
    prefill: flags.prefill ?? 'exact',
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

function logitBias(pairs: readonly string[]): Record<number, number> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const [, id, bias] = /^(\d+)=(-?\d+(?:\.\d+)?)$/.exec(pair) ?? []
      if (id === undefined) throw new UsageError(`--logit-bias takes ID=BIAS, such as 42=-100; not "${pair}"`)
      return [Number(id), Number(bias)]
    }),
  )
}

/** `first token 84 ms (load 0.4 s) · 37 prompt tokens · 120 tokens/s · wasm-relaxed · exact` */
export function summaryLine(done: DoneEvent): string {
  const { timings, cached_tokens, build } = done
  const rate = timings.decode_tokens_per_s
  const parts = [
    `first token ${Math.round(timings.ttft_ms)} ms${exactTtft(done)} (load ${(timings.load_ms / 1000).toFixed(1)} s)`,
    `${timings.prompt_tokens} prompt tokens${cached_tokens > 0 ? ` (${cached_tokens} cached)` : ''}`,
    ...(rate > 0 ? [`${rate.toFixed(rate < 100 ? 1 : 0)} tokens/s`] : []),
    build,
    cacheState(done),
  ]
  return parts.join(' · ')
}

/** What exact prefill would have taken, by the count of its work: a run of its own would tell better, and later. */
function exactTtft({ timings, prefill_share }: DoneEvent): string {
  if (prefill_share === 1) return ''
  return `, exact about ${Math.round(timings.ttft_ms + timings.prefill_ms * (1 / prefill_share - 1))} ms`
}

function cacheState({ prefill, exact_from }: DoneEvent): string {
  if (prefill === 'exact') return prefill
  return exact_from === undefined ? `${prefill}, not exact yet` : `${prefill}, exact from token ${exact_from + 1}`
}

/** A file, whole. Throws `not_found`, `io`. */
export async function readBytes(path: string): Promise<Uint8Array> {
  return readFile(path).catch((error) => {
    const missing = error.code === 'ENOENT'
    throw new ForetokenError(missing ? 'not_found' : 'io', `${path}: ${missing ? 'no such file' : error.message}`)
  })
}

/** Writes beside the place first, so that a file is there whole or not at all. */
export async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
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
