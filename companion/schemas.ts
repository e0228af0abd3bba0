/** Schemas of the requests that edges send to a companion. */
import { z } from '@hono/zod-openapi'
import { seedIn, wireCodecs } from '../src/index.ts'

const hash = z.string().regex(/^[0-9a-f]{64}$/)
const position = z.number().int().min(0).max(10_000_000)
const ids = z.array(position).min(1).max(1_000_000)

const prompt = {
  ids,
  /** Identity of the model. */
  model: hash,
  tenant: z.string().max(300).default(''),
}

/** Body of POST /v1/prefill. */
export const prefillRequest = z.strictObject({
  ...prompt,
  codec: z.enum(wireCodecs),
  from: position,
  to: position,
})

/** Maximum number of tokens with a bias. */
const mostBiases = 1024

/** The engine checks the ranges of its options. */
const number = z.number().optional()
const options = z.strictObject({
  temperature: number,
  topK: number,
  topP: number,
  minP: number,
  repetitionPenalty: number,
  presencePenalty: number,
  frequencyPenalty: number,
  // A string if the seed exceeds what a JSON number holds exactly.
  seed: z
    .custom<number | string>((value) => seedIn(value) !== undefined)
    .transform(seedIn)
    .optional(),
  topLogprobs: number,
  ignoreEos: z.boolean().optional(),
  stopTokenIds: z.array(z.number()).max(1024).optional(),
  minTokens: number,
  stop: z.array(z.string().max(4096)).max(16).optional(),
  logitBias: z
    .record(z.string(), z.number())
    .refine((bias) => Object.keys(bias).length <= mostBiases)
    .optional(),
})

/** Body of POST /v1/relay. */
export const relayRequest = z.strictObject({
  ...prompt,
  maxTokens: z.number().int().min(0).max(1_000_000),
  options,
  after: z.array(position).max(1_000_000),
})
