/** Turns Ollama's options into the engine's. */
import { effortValues, type TextService } from '../../src/index.ts'
import type { Config } from '../config.ts'
import { type Options, optionsOf } from '../endpoints/options.ts'
import { ApiError } from '../errors.ts'
import type { ChatRequest } from './schemas.ts'

type Shared = Pick<ChatRequest, 'stream' | 'options' | 'logprobs' | 'top_logprobs' | 'foretoken' | 'think' | 'format'>

/** Returns the options of a request. Throws an ApiError of 400. */
export function engineOptions(body: Shared, engine: TextService, config: Config): Options {
  const { logprobs, top_logprobs, foretoken, options, format } = body
  const { num_predict, repeat_penalty, repeat_last_n, seed, ...rest } = options ?? {}
  if (top_logprobs && !logprobs)
    throw new ApiError(400, 'top_logprobs needs logprobs: true', { code: 'invalid_value', param: 'top_logprobs' })
  const sampling = {
    ...rest,
    foretoken,
    format,
    stream: body.stream ?? true,
    repetition_penalty: repeat_penalty,
    // -1 is any seed.
    seed: seed === -1 ? undefined : seed,
    ...(repeat_last_n === 0 && { repetition_penalty: 1, presence_penalty: 0, frequency_penalty: 0 }),
  }
  return {
    ...optionsOf(sampling, engine, config, num_predict),
    ...(top_logprobs && { topLogprobs: top_logprobs }),
  }
}

/** Returns what the chat template is told about reasoning. */
export function thinkingOf(
  { think }: Pick<Shared, 'think'>,
  { archive }: TextService,
): Pick<Options, 'templateValues'> {
  if (think === null || think === undefined) return {}
  if (think === false) return { templateValues: effortValues(archive.tokenizer, 'none') }
  const effort = typeof think === 'string' ? effortValues(archive.tokenizer, think) : {}
  return { templateValues: { enable_thinking: true, ...effort } }
}
