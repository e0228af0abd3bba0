/**
 * Answers requests that compute something of many texts, embeddings or scores: the same steps as for
 * answers (answer.ts), with one place for the whole request. The engine lets prompts and streams of
 * others go first.
 */
import type { z } from '@hono/zod-openapi'
import { asForetokenError } from '../src/index.ts'
import { admit, contextOf, received, usualCharactersPerToken } from './answer.ts'
import { ApiError } from './errors.ts'
import type { Contract, PlanContext } from './exchange.ts'
import type { RequestContext, Server } from './server.ts'

/** What a request computes, and how its answer is written. */
export interface Computation<S extends z.ZodType<{ model: string }>> extends Contract<S> {
  /** Returns the texts of a request, or their token ids. `param` is the field that they are in. */
  texts(body: z.output<S>): { readonly param: string; readonly list: readonly (string | readonly number[])[] }
  /** Resolves with the body of the answer, and with the number of tokens that were read. */
  run(
    body: z.output<S>,
    context: PlanContext,
    options: { readonly tenant: string; readonly signal: AbortSignal },
  ): Promise<{ readonly body: BodyInit; readonly tokens: number }>
}

/** Throws ApiError and ForetokenError. */
export function compute<S extends z.ZodType<{ model: string }>>(
  c: RequestContext,
  server: Server,
  computation: Computation<S>,
): Promise<Response> {
  return received(c, server, computation, async ({ body, exchange, accept }) => {
    const context = await contextOf(c, server, computation, body, exchange)
    const tokens = tokensOf(computation.texts(body), server)
    await admit(c, server, { answers: 1, tokens }, context.engine, exchange)
    exchange.startClock()
    const { tenant } = c.get('caller')
    const made = await computation.run(body, context, { tenant, signal: exchange.signal }).catch((error) => {
      throw ofModel(error)
    })
    accept()
    const record = c.get('record')
    server.metrics.embedded(made.tokens, server.models.several ? record.model : undefined)
    record.prompt_tokens = made.tokens
    exchange.end()
    return new Response(made.body, { headers: { 'content-type': 'application/json' } })
  })
}

/** Returns a failure of the computation: what is not supported is so of the model, unless it names an argument. */
function ofModel(error: unknown): unknown {
  const { code, message, argument } = asForetokenError(error)
  if (error instanceof ApiError || code !== 'unsupported' || argument !== undefined) return error
  return new ApiError(400, message, { code: 'unsupported_value', param: 'model', cause: error })
}

/** Estimates the tokens of all texts. Throws an ApiError of 400 for too many texts or tokens. */
function tokensOf({ param, list }: ReturnType<Computation<never>['texts']>, { config }: Server): number {
  const { texts, textTokens } = config.limits
  if (list.length > texts) throw tooMany(param, `${list.length} texts were sent; at most ${texts} are taken at once`)
  let tokens = 0
  for (const one of list) tokens += typeof one === 'string' ? one.length / usualCharactersPerToken : one.length
  if (tokens <= textTokens) return Math.ceil(tokens)
  throw tooMany(param, `the texts have about ${Math.ceil(tokens)} tokens; at most ${textTokens} are taken at once`)
}

function tooMany(param: string, message: string): ApiError {
  return new ApiError(400, `${param}: ${message}; send several requests`, { code: 'invalid_value', param })
}
