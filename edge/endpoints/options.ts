/** Turns the fields of a body into the engine's options. */
import type { z } from '@hono/zod-openapi'
import { type GenerateRequest, guideOf, type TextService } from '../../src/index.ts'
import type { Config } from '../config.ts'
import { ApiError } from '../errors.ts'
import { limitOf, type sampling } from '../schemas/common.ts'

type Fields<T extends Record<string, z.ZodType>> = { readonly [N in keyof T]?: z.output<T[N]> }

type Extension = NonNullable<z.output<typeof sampling.foretoken>>

type Sampling = Omit<Fields<typeof sampling>, 'foretoken'> & {
  readonly foretoken?:
    | (Omit<Extension, 'chunks'> & { readonly chunks?: boolean | 'auto' | null | undefined })
    | null
    | undefined
  readonly response_format?: unknown
  readonly text?: { readonly format?: unknown } | null | undefined
  readonly stream?: boolean | null | undefined
}
/** The fields that a chat template reads. */
type Templating = { readonly chat_template_kwargs?: Readonly<Record<string, unknown>> | null | undefined } & {
  readonly add_generation_prompt?: boolean | null | undefined
  readonly continue_final_message?: boolean | null | undefined
}

export type Options = Omit<GenerateRequest, 'prompt' | 'signal' | 'tenant' | 'id'>

/**
 * Returns the options of a body. The config decides what the body leaves open; `hasMarks` says
 * whether its prompt has marked parts. Throws an ApiError of 400.
 */
export function optionsOf(
  body: Sampling,
  engine: TextService,
  config: Config,
  maxTokens: number | null | undefined,
  hasMarks = false,
): Options {
  const { foretoken: more } = body
  const auto = more?.chunks === 'auto' && engine.keepChunks !== undefined
  const marked = hasMarks || auto
  const topK = body.top_k ?? more?.top_k ?? undefined
  const prefill = prefillOf(more?.prefill ?? undefined, engine, config, marked)
  const options = {
    maxTokens: limitOf(maxTokens) ?? config.limits.outputTokens,
    minTokens: body.min_tokens ?? undefined,
    temperature: body.temperature ?? config.temperature,
    // The engine does not take 0. The smallest set of tokens with almost no probability is the
    // likeliest token.
    topP: body.top_p === null || body.top_p === undefined ? undefined : Math.max(body.top_p, 1e-9),
    topK: topK === -1 ? 0 : topK,
    minP: body.min_p ?? more?.min_p ?? undefined,
    repetitionPenalty: body.repetition_penalty ?? more?.repetition_penalty ?? undefined,
    presencePenalty: body.presence_penalty ?? undefined,
    frequencyPenalty: body.frequency_penalty ?? undefined,
    seed: body.seed ?? undefined,
    logitBias: body.logit_bias ? biasOf(body.logit_bias, engine) : undefined,
    stop: typeof body.stop === 'string' ? [body.stop] : (body.stop ?? undefined),
    stopTokenIds: body.stop_token_ids ? knownIds(body.stop_token_ids, engine) : undefined,
    ignoreEos: ignoresEnds(body),
    guide: guideOf({ ...body, text_format: body.text?.format }),
    prefill,
    chunks: auto ? ('auto' as const) : undefined,
    // A whole answer has not been shown to anyone before it is corrected.
    verify: more?.verify ?? (refines(prefill, marked) ? !body.stream : undefined),
    rawLogprobs: more?.raw_logprobs ?? undefined,
  }
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Options
}

/** Returns true if the answer continues past the model's own ends of a turn. */
export function ignoresEnds({ ignore_eos, foretoken }: Sampling): boolean | undefined {
  return ignore_eos ?? foretoken?.ignore_eos ?? undefined
}

/**
 * Returns the options of the chat template. Throws an ApiError of 400 for an answer that should
 * both begin and continue.
 */
export function templateOptionsOf(body: Templating): Pick<GenerateRequest, 'templateValues' | 'continueFinal'> {
  const { add_generation_prompt: begins, continue_final_message: continues } = body
  if (continues && begins)
    throw new ApiError(400, 'an answer either begins or goes on: leave add_generation_prompt out', {
      code: 'invalid_value',
      param: 'continue_final_message',
    })
  const values = { ...body.chat_template_kwargs }
  if (typeof begins === 'boolean') values.add_generation_prompt ??= begins
  return {
    ...(Object.keys(values).length > 0 && { templateValues: values }),
    ...(continues && { continueFinal: true }),
  }
}

/**
 * Refuses modes that need a predictor if there is none. The config's mode falls back to exact then.
 * Chunks need none, and an exact mode of the config is not for them.
 */
function prefillOf(
  wanted: Options['prefill'],
  engine: TextService,
  config: Config,
  marked: boolean,
): Options['prefill'] {
  const mode = engine.prediction ? (wanted ?? config.prefill) : wanted
  if (marked && engine.keepChunks && mode !== 'auto') return wanted ?? (mode === 'exact' ? undefined : mode)
  if (engine.prediction) return mode
  if (wanted === undefined || wanted === 'exact') return 'exact'
  throw new ApiError(400, `prefill ${wanted} needs a predictor, and this server has none; use exact`, {
    code: 'unsupported_value',
    param: 'foretoken.prefill',
  })
}

function refines(prefill: Options['prefill'], marked: boolean): boolean {
  return prefill === undefined ? marked : prefill === 'refined' || prefill === 'auto'
}

function knownIds(ids: readonly number[], engine: TextService): readonly number[] {
  const { vocab } = engine.archive.config
  const outside = ids.find((id) => id >= vocab)
  if (outside === undefined) return ids
  throw new ApiError(400, `stop_token_ids names token ${outside}; there are ${vocab} tokens`, {
    code: 'invalid_value',
    param: 'stop_token_ids',
  })
}

function biasOf(bias: Readonly<Record<string, number>>, engine: TextService): Record<number, number> {
  const { vocab } = engine.archive.config
  const outside = Object.keys(bias).find((id) => Number(id) >= vocab)
  if (outside !== undefined)
    throw new ApiError(400, `logit_bias names token ${outside}; there are ${vocab} tokens`, {
      code: 'invalid_value',
      param: 'logit_bias',
    })
  return bias as Record<number, number>
}
