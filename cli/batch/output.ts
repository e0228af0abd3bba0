/** Formats lines of a batch's output. Each has the number and the hash of its input line. */
import { sha256Of } from '../../node/hash.ts'
import type { DoneEvent, ForetokenError } from '../../node/index.ts'
import type { BatchLine } from './lines.ts'
import type { ReadAnswer } from './tools.ts'

/** The input line that an output line answers. */
export interface Answered {
  readonly line: number
  readonly input: string
  readonly id: string | undefined
  readonly form: BatchLine['form']
}

/** Returns a prefix of the SHA-256, long enough to detect that an input line was replaced. */
export function hashOf(bytes: Uint8Array): string {
  return sha256Of(bytes).slice(0, 16)
}

/** `read` is there for an answer with tools. */
export function resultLine(
  { form, id, line, input }: Answered,
  done: DoneEvent,
  model: string,
  now: number,
  read?: ReadAnswer,
): string {
  const { text, ids, finishReason, cached_tokens, timings, prefill, exact_from, verified } = done
  const prompt_tokens = timings.prompt_tokens
  const completion_tokens = ids.length
  const finish_reason = read?.finish_reason ?? (finishReason === 'stop' ? 'stop' : 'length')
  const checked = verified !== undefined && { verified }
  const cache = { prefill, ...(exact_from !== undefined && { exact_from }), ...checked }
  const usage = { prompt_tokens, completion_tokens, cached_tokens, ...cache }
  if (form === 'plain')
    return JSON.stringify({ line, input, ...(id !== undefined && { id }), text, finish_reason, ...usage })
  const isChat = form === 'chat'
  const choice = isChat ? { message: read?.message ?? { role: 'assistant', content: text } } : { text }
  const body = {
    id: `${isChat ? 'chatcmpl' : 'cmpl'}-${input}-${line}`,
    object: isChat ? 'chat.completion' : 'text_completion',
    created: Math.floor(now / 1000),
    model,
    choices: [{ index: 0, ...choice, logprobs: null, finish_reason }],
    usage: {
      prompt_tokens,
      completion_tokens,
      total_tokens: prompt_tokens + completion_tokens,
      prompt_tokens_details: { cached_tokens },
      ...cache,
    },
  }
  const response = { status_code: 200, request_id: `req-${input}-${line}`, body }
  return JSON.stringify({ id: `batch_req_${input}_${line}`, custom_id: id, response, error: null, line, input })
}

export function errorLine({ form, id, line, input }: Answered, { code, message }: ForetokenError): string {
  const error = { code, message }
  if (form === 'plain') return JSON.stringify({ line, input, ...(id !== undefined && { id }), error })
  return JSON.stringify({ id: `batch_req_${input}_${line}`, custom_id: id ?? null, response: null, error, line, input })
}
