/** From the fields of a body to the engine's options. */
import type { z } from '@hono/zod-openapi'
import type { AnyEngine, GenerateRequest } from '../../src/index.ts'
import type { Config } from '../config.ts'
import { ApiError } from '../errors.ts'
import type { choosing, extension, sampling } from '../schemas/common.ts'

type Fields<T extends Record<string, z.ZodType>> = { readonly [N in keyof T]?: z.output<T[N]> }

type Sampling = Pick<Fields<typeof sampling>, 'temperature' | 'top_p'> & {
  readonly foretoken?: z.output<typeof extension> | null | undefined
}
type Choosing = Pick<Fields<typeof choosing>, 'stop' | 'seed' | 'presence_penalty' | 'frequency_penalty' | 'logit_bias'>

export type Options = Omit<GenerateRequest, 'prompt' | 'signal' | 'tenant' | 'id'>

/** What a request leaves open the config decides. Throws an ApiError of 400. */
export function optionsOf(
  body: Sampling & Choosing,
  engine: AnyEngine,
  config: Config,
  maxTokens: number | undefined,
): Options {
  const { foretoken: more = {} } = body
  const most = maxTokens ?? config.limits.outputTokens
  const given = {
    maxTokens: most,
    temperature: body.temperature ?? config.temperature,
    // The engine takes no 0; the fewest tokens that reach almost nothing are the likeliest one.
    topP: body.top_p === null || body.top_p === undefined ? undefined : Math.max(body.top_p, 1e-9),
    topK: more?.top_k ?? undefined,
    minP: more?.min_p ?? undefined,
    repetitionPenalty: more?.repetition_penalty ?? undefined,
    presencePenalty: body.presence_penalty ?? undefined,
    frequencyPenalty: body.frequency_penalty ?? undefined,
    seed: body.seed ?? undefined,
    logitBias: body.logit_bias ? biasOf(body.logit_bias, engine) : undefined,
    stop: typeof body.stop === 'string' ? [body.stop] : (body.stop ?? undefined),
    ignoreEos: more?.ignore_eos ?? undefined,
    prefill: prefillOf(more?.prefill ?? undefined, engine, config),
  }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Options
}

/** Kinds that need a predictor are refused where there is none; the config's own choice falls back to exact then. */
function prefillOf(wanted: Options['prefill'], engine: AnyEngine, config: Config): Options['prefill'] {
  if (engine.prediction) return wanted ?? config.prefill
  if (wanted === undefined || wanted === 'exact') return 'exact'
  throw new ApiError(400, `prefill ${wanted} needs a predictor, and this server has none; use exact`, {
    code: 'unsupported_value',
    param: 'foretoken.prefill',
  })
}

function biasOf(bias: Readonly<Record<string, number>>, engine: AnyEngine): Record<number, number> {
  const { vocab } = engine.archive.config
  const outside = Object.keys(bias).find((id) => Number(id) >= vocab)
  if (outside !== undefined)
    throw new ApiError(400, `logit_bias names token ${outside}; there are ${vocab} tokens`, {
      code: 'invalid_value',
      param: 'logit_bias',
    })
  return bias as Record<number, number>
}
