/**
 * Ollama's API: `/api/chat`, `/api/generate`, `/api/show` and its lists. The answers are schemas,
 * too; tests compare their types with those of Ollama's own client.
 */
import {
  extension,
  harmless,
  notHere,
  only,
  refused,
  report,
  sampling,
  tokenLimit,
  unsupported,
  z,
} from '../schemas/common.ts'
import { callArguments, chatTool, toolName } from '../schemas/tools.ts'
import { keepAlive } from './keep-alive.ts'

const host = harmless('the server decides how it runs the model')

/** Settings of a request; what a request leaves open, the server decides. */
const options = z
  .object({
    num_predict: tokenLimit.nullish(),
    temperature: sampling.temperature,
    top_k: sampling.top_k,
    top_p: sampling.top_p,
    min_p: sampling.min_p,
    seed: sampling.seed,
    stop: sampling.stop,
    repeat_penalty: sampling.repetition_penalty,
    presence_penalty: sampling.presence_penalty,
    frequency_penalty: sampling.frequency_penalty,
    repeat_last_n: z.number().int().min(-1).nullish().openapi({
      description: '0 turns penalties off, and -1 counts all tokens. A window is refused if there is a penalty.',
    }),
    typical_p: only(z.literal(1, unsupported), 'Refused, except for 1, which is off'),
    tfs_z: only(z.literal(1, unsupported), 'Refused, except for 1, which is off'),
    mirostat: only(z.literal(0, unsupported), 'Refused, except for 0, which is off'),
    mirostat_tau: harmless('mirostat is off'),
    mirostat_eta: harmless('mirostat is off'),
    penalize_newline: harmless('new versions of Ollama ignore it'),
    num_ctx: harmless('the context is the server’s'),
    num_keep: harmless('prompts are never shortened'),
    ...{ num_batch: host, num_gpu: host, main_gpu: host, num_thread: host, numa: host, low_vram: host, f16_kv: host },
    ...{ use_mmap: host, use_mlock: host, logits_all: host, vocab_only: host, embedding_only: host },
  })
  .superRefine(({ repeat_last_n: last = -1, repeat_penalty, presence_penalty, frequency_penalty }, c) => {
    const penalties = (repeat_penalty ?? 1) !== 1 || presence_penalty || frequency_penalty
    if (last !== null && last > 0 && penalties)
      c.addIssue({
        code: 'custom',
        path: ['repeat_last_n'],
        message: `${notHere}: penalties count all tokens; use -1, or leave it out`,
      })
  })
  .openapi('OllamaOptions')

const shared = {
  model: sampling.model,
  stream: z.boolean().nullish().openapi({ description: 'Default true.' }),
  options: options.nullish(),
  think: z
    .union([z.boolean(), z.enum(['low', 'medium', 'high', 'max'])])
    .nullish()
    .openapi({ description: 'Sets `enable_thinking` of the chat template.' }),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.number().int().min(0).max(20).nullish(),
  format: sampling.format,
  keep_alive: keepAlive,
  truncate: harmless('a prompt that is too long is refused, not shortened'),
  shift: harmless('an answer ends where the context is full'),
  foretoken: extension.nullish(),
}

const call = z
  .object({
    id: z.string().max(256).nullish(),
    type: harmless('all calls are of functions'),
    function: z.object({
      name: toolName,
      arguments: callArguments.nullish(),
      index: harmless('calls are in order'),
    }),
  })
  .openapi('OllamaToolCall')

const message = z
  .object({
    role: z.enum(['system', 'user', 'assistant', 'tool']),
    content: z.string().nullish(),
    thinking: z.string().nullish().openapi({ description: 'Passed to the chat template.' }),
    images: refused('text is the only kind of content'),
    tool_calls: z.array(call).max(128).nullish().openapi({ description: 'Calls of an earlier answer.' }),
    tool_name: z.string().max(256).nullish().openapi({ description: 'The tool whose result a message is.' }),
    tool_call_id: z
      .string()
      .max(256)
      .nullish()
      .openapi({ description: 'The call whose result a message is. Default: the next one of that tool.' }),
  })
  .openapi('OllamaMessage')

export const chatRequest = z
  .object({
    ...shared,
    messages: z.array(message).nullish().openapi({ description: 'Without messages the model is only loaded.' }),
    tools: z.array(chatTool).max(128).nullish(),
  })
  .openapi('OllamaChatRequest')

export type ChatRequest = z.output<typeof chatRequest>

export const embedRequest = z
  .object({
    model: sampling.model,
    input: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]),
    dimensions: z.number().int().min(1).nullish().openapi({ description: 'Keeps the first numbers of each vector.' }),
    options: options.nullish(),
    keep_alive: keepAlive,
    truncate: harmless('a text that is too long is refused, not shortened'),
  })
  .openapi('OllamaEmbedRequest')

export const embedResponse = z
  .object({
    model: z.string(),
    embeddings: z.array(z.array(z.number())),
    total_duration: z.number().int(),
    load_duration: z.number().int(),
    prompt_eval_count: z.number().int(),
  })
  .openapi('OllamaEmbedResponse')

/** The older request: one text. */
export const embedOneRequest = z
  .object({
    model: sampling.model,
    prompt: z.string().min(1),
    options: options.nullish(),
    keep_alive: keepAlive,
  })
  .openapi('OllamaEmbeddingsRequest')

export const embedOneResponse = z.object({ embedding: z.array(z.number()) }).openapi('OllamaEmbeddingsResponse')

export type EmbedResponse = z.output<typeof embedResponse>

export const textRequest = z
  .object({
    ...shared,
    prompt: z.string().nullish().openapi({ description: 'Without a prompt the model is only loaded.' }),
    system: z.string().nullish().openapi({ description: 'A system message before the prompt; not with `raw`.' }),
    raw: z.boolean().nullish().openapi({ description: 'Continues the prompt without a chat template.' }),
    suffix: z
      .string()
      .nullish()
      .openapi({ description: 'The text after the answer; needs a fill-in-the-middle model.' }),
    template: refused('only the model’s own template is used'),
    context: refused('send the whole conversation to /api/chat'),
    images: refused('text is the only kind of content'),
    width: refused('text is the only kind of answer'),
    height: refused('text is the only kind of answer'),
    steps: refused('text is the only kind of answer'),
  })
  .openapi('OllamaGenerateRequest')

export type TextRequest = z.output<typeof textRequest>

export const showRequest = z
  .object({
    model: sampling.model,
    verbose: harmless('the vocabulary is never listed'),
    system: harmless('nothing is stored'),
    template: harmless('nothing is stored'),
    options: harmless('nothing is stored'),
  })
  .openapi('OllamaShowRequest')

const scored = { token: z.string(), logprob: z.number(), bytes: z.array(z.number().int()) }

const logprobs = z.array(z.object({ ...scored, top_logprobs: z.array(z.object(scored)) })).optional()

/** Nanoseconds. */
const nanoseconds = z.number().int().min(0)

const doneReason = z.enum(['stop', 'length', 'load', 'unload'])

/** What the last line of an answer adds. */
const summary = {
  done: z.literal(true),
  done_reason: doneReason,
  total_duration: nanoseconds,
  load_duration: nanoseconds,
  prompt_eval_count: z.number().int(),
  prompt_eval_duration: nanoseconds,
  eval_count: z.number().int(),
  eval_duration: nanoseconds,
  foretoken: report.optional(),
}

const line = { model: z.string(), created_at: z.iso.datetime(), logprobs }
const going = { done: z.literal(false) }
const answeredCall = z.object({
  id: z.string(),
  function: z.object({ index: z.number().int(), name: z.string(), arguments: z.record(z.string(), z.unknown()) }),
})
const reply = {
  message: z.object({
    role: z.literal('assistant'),
    content: z.string(),
    thinking: z.string().optional(),
    tool_calls: z.array(answeredCall).optional(),
  }),
}
const text = { response: z.string(), thinking: z.string().optional() }

export const chatResponse = z.object({ ...line, ...reply, ...summary }).openapi('OllamaChatResponse')
export const chatLine = z.object({ ...line, ...reply, ...going }).openapi('OllamaChatLine')
export const textResponse = z.object({ ...line, ...text, ...summary }).openapi('OllamaGenerateResponse')
export const textLine = z.object({ ...line, ...text, ...going }).openapi('OllamaGenerateLine')

export type AnsweredToolCall = z.output<typeof answeredCall>
export type Summary = Omit<z.output<typeof chatResponse>, 'message' | 'logprobs'>

const details = z
  .object({
    parent_model: z.string(),
    format: z.string(),
    family: z.string(),
    families: z.array(z.string()),
    parameter_size: z.string(),
    quantization_level: z.string(),
  })
  .openapi('OllamaModelDetails')

const listed = {
  name: z.string(),
  model: z.string(),
  size: z.number().int(),
  digest: z.string(),
  details,
}

export const tagsResponse = z
  .object({ models: z.array(z.object({ ...listed, modified_at: z.iso.datetime() })) })
  .openapi('OllamaModels')

export const runningResponse = z
  .object({
    models: z.array(
      z.object({
        ...listed,
        expires_at: z.iso.datetime(),
        size_vram: z.number().int(),
        context_length: z.number().int(),
      }),
    ),
  })
  .openapi('OllamaRunningModels')

export const showResponse = z
  .object({
    license: z.string(),
    modelfile: z.string(),
    parameters: z.string(),
    template: z.string(),
    system: z.string(),
    details,
    model_info: z.record(z.string(), z.union([z.string(), z.number()])),
    capabilities: z.array(z.string()),
    modified_at: z.iso.datetime(),
  })
  .openapi('OllamaModel')

export type Details = z.output<typeof details>
export type TagsResponse = z.output<typeof tagsResponse>
export type RunningResponse = z.output<typeof runningResponse>
export type ShowResponse = z.output<typeof showResponse>

export const versionResponse = z.object({ version: z.string() }).openapi('OllamaVersion')
export const errorResponse = z.object({ error: z.string() }).openapi('OllamaError')
