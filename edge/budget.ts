/**
 * Estimates the memory that a model takes in an isolate, in wasm and in the JS heap, before any of
 * it is allocated. `deploy-prep` refuses models that cannot fit; a Worker uses the settings found
 * here, so that requests beyond them wait or are refused and never crash the isolate.
 */
import {
  activationBytes,
  ForetokenError,
  type KvType,
  type ModelConfig,
  pageLayout,
  pageTokens,
  specOf,
  type TensorInfo,
  type TensorType,
} from '../src/index.ts'

export interface BudgetSettings {
  /** Maximum number of tokens in a request, prompt and answer. */
  readonly context: number
  /** Tokens of KV cache that all requests and cached prefixes share. */
  readonly kvTokens: number
  readonly kv: KvType
  readonly passTokens: number
  /** Maximum number of requests that hold KV cache at once. */
  readonly streams: number
  /** Whether answers may have a guide, for which the grammar engine is loaded. Default false. */
  readonly guides?: boolean | undefined
  /** Bytes of the K and V of chunks, which are loaded with the weights. Default 0: no chunks are kept. */
  readonly chunkBytes?: number | undefined
}

/** An account of memory, in bytes. */
export interface MemoryPlan {
  readonly limit: number
  /** Embedding and vocabulary projection: one matrix where they are tied. */
  readonly vocabulary: number
  readonly layers: number
  readonly predictor: number
  readonly kv: number
  /** Buffers of a pass, logits, and the kernels' working memory. */
  readonly activations: number
  /** The tokenizer's tables in the JS heap. */
  readonly tokenizer: number
  /** K and V of chunks; 0 without any. */
  readonly chunks: number
  /** The grammar engine with its table of tokens; 0 without guides. */
  readonly guides: number
  /** The program, its heap and the state of requests. */
  readonly heap: number
  readonly total: number
}

/** The limit to plan with: 120 MiB of the 128 that Cloudflare allows an isolate. */
export const isolateLimit = 120 << 20

/**
 * The JS heap of a serving Worker, without the parts listed separately: 6 MB measured, plus a
 * margin for requests.
 */
const program = 8 << 20
/**
 * Bytes of the tokenizer's tables per token: 128 measured with 49,152 tokens and as many merges.
 */
const perToken = 136
/**
 * Bytes of the grammar engine: its module, its stack and compiled grammars, and its table of tokens,
 * for each of which 600 were measured with 49,152 tokens.
 */
const grammars = 6 << 20
const grammarsPerToken = 600
/** Core module, stack, staging and tables. */
const core = 1 << 20
const panel = 8
const logitRows = 4

/** Bytes of 32 weights of a row, in the core's layout. */
const per32: Readonly<Record<TensorType, number>> = {
  f32: 128,
  f16: 64,
  bf16: 64,
  q4_0: 20,
  q4_1: 20,
  q4_k: 20,
  tq1_0: 20,
  tq2_0: 20,
  q1_0: 20,
  q2_0: 20,
  q5_0: 34,
  q8_0: 34,
  iq4_nl: 34,
  iq4_xs: 34,
  mxfp4: 34,
  q5_1: 36,
  q5_k: 36,
  q2_k: 36,
  q3_k: 36,
  q6_k: 36,
}

export type PlannedTensor = Pick<TensorInfo, 'rows' | 'cols' | 'type'>

export interface PlannedModel {
  readonly config: ModelConfig
  /** The tensors by canonical name. */
  readonly tensors: ReadonlyMap<string, PlannedTensor>
  /** Bytes of the predictor's file; 0 without one. */
  readonly predictor: number
}

/** Returns the memory that a model needs with these settings, whether it fits or not. */
export function memoryPlan(model: PlannedModel, settings: BudgetSettings, limit = isolateLimit): MemoryPlan {
  const { config, tensors, predictor } = model
  let [vocabulary, layers] = [0, 0]
  for (const [name, tensor] of tensors)
    if (/^(embed|embedTail|head)$/.test(name)) vocabulary += weightBytes(tensor)
    else layers += weightBytes(tensor)
  const parts = {
    vocabulary,
    layers,
    predictor,
    kv: Math.ceil(settings.kvTokens / pageTokens) * pageLayout(specOf(config), settings.kv).bytes,
    activations: core + passBytes(config, settings.passTokens, predictor > 0),
    tokenizer: config.vocab * perToken,
    chunks: settings.chunkBytes ?? 0,
    guides: settings.guides ? grammars + config.vocab * grammarsPerToken : 0,
    // The states of refined prompts are held for at most `kvTokens` tokens.
    heap: program + logitRows * config.vocab * 4 + (predictor > 0 ? settings.kvTokens * config.hidden * 4 : 0),
  }
  return { limit, ...parts, total: Object.values(parts).reduce((sum, bytes) => sum + bytes, 0) }
}

/**
 * Returns the settings with as many tokens of KV cache as fit, up to a full context for each
 * stream. Throws `out_of_memory` with the plan if not even one context fits.
 */
export function fitted(
  name: string,
  model: PlannedModel,
  settings: Omit<BudgetSettings, 'kvTokens'>,
  limit = isolateLimit,
): { settings: BudgetSettings; plan: MemoryPlan } {
  const withTokens = (kvTokens: number) => ({ ...settings, kvTokens })
  const most = settings.streams * settings.context
  const fits = (tokens: number) => memoryPlan(model, withTokens(tokens), limit).total <= limit
  let tokens = Math.ceil(settings.context / pageTokens) * pageTokens
  if (!fits(tokens)) throw tooLarge(name, memoryPlan(model, withTokens(tokens), limit), settings)
  while (tokens + pageTokens <= most && fits(tokens + pageTokens)) tokens += pageTokens
  return { settings: withTokens(tokens), plan: memoryPlan(model, withTokens(tokens), limit) }
}

/** Returns a plan as text: `vocabulary 17.7 + layers 66.5 + ... = 117.0 of 125.8 MB`. */
export function planLine({ limit, total, ...parts }: MemoryPlan): string {
  const list = Object.entries(parts).filter(([, bytes]) => bytes > 0)
  return `${list.map(([name, bytes]) => `${name} ${megabytes(bytes)}`).join(' + ')} = ${megabytes(total)} of ${megabytes(limit)} MB`
}

function tooLarge(name: string, plan: MemoryPlan, { context, kv }: Omit<BudgetSettings, 'kvTokens'>): ForetokenError {
  const over = plan.total - plan.limit
  const ways = [
    over < plan.predictor ? 'leave the predictor out' : '',
    over < plan.guides ? 'leave --guides out' : '',
    over < plan.chunks ? 'include fewer chunks' : '',
    over < plan.kv ? `use a context below ${context}` : '',
    kv === 'int8' ? '' : 'use --kv int8',
    'use a smaller model or one with fewer bits per weight',
  ].filter((way) => way !== '')
  return new ForetokenError(
    'out_of_memory',
    `${name} does not fit in an isolate with a context of ${context}: ${planLine(plan)}, ${megabytes(over)} MB over; ${ways.join(', or ')}`,
  )
}

/** Returns the bytes of memory that a tensor takes in the core. */
export function weightBytes({ rows, cols, type }: PlannedTensor): number {
  if (rows === 1) return cols * 4
  return (Math.ceil(rows / panel) * panel * cols * per32[type]) / 32
}

/** Bytes of a pass: activations and logits, a predictor's inputs and maps, and what the kernels keep beside them. */
function passBytes(config: ModelConfig, passTokens: number, predictor: boolean): number {
  const { hidden, intermediate, heads, kvHeads, headDim } = config
  const maps = predictor ? 2 * kvHeads * headDim + hidden : 0
  const angles = headDim
  const quantised = Math.max(hidden, intermediate, heads * headDim) * 1.25
  const buffers = activationBytes(config, specOf(config), { passTokens, logitRows })
  return buffers + passTokens * ((maps + angles) * 4 + quantised)
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1)
}
