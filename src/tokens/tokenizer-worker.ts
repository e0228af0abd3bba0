/** Reads prompts in the text worker of one engine. */

import { ForetokenError } from '../base/errors.ts'
import type { TokenizerSpec } from '../base/model.ts'
import type { ChatMessage, PromptChunk } from '../base/prompt.ts'
import { SerialWorker, type SerialWorkerOptions } from '../base/serial-worker.ts'
import type { PromptOptions } from './prompt.ts'
import type { FromTextWorker, SpawnText, ToTextWorker } from './text-messages.ts'

/** How a text worker is started, and how long it and one prompt may take. */
export interface TokenizerWorkerOptions
  extends Pick<SerialWorkerOptions<ToTextWorker, FromTextWorker>, 'startMs' | 'deadlineMs' | 'graceMs' | 'idleMs'> {
  readonly spawn: SpawnText
  readonly spec: TokenizerSpec
  readonly context: number
}

/** The ids of a prompt. */
export interface TextResult {
  readonly ids: number[]
  /** Its marked chunks; undefined if it has none. */
  readonly chunks: readonly PromptChunk[] | undefined
  /** Milliseconds since the template was rendered, or since the worker began. */
  readonly tokenizeMs: number
}

/** Runs the text worker of one engine. */
export class TokenizerWorker {
  readonly #worker: SerialWorker<ToTextWorker, FromTextWorker>

  constructor({ spec, context, ...options }: TokenizerWorkerOptions) {
    this.#worker = new SerialWorker({ ...options, open: () => ({ type: 'open', spec, context }), late, died })
  }

  /**
   * Reads one prompt. The caller must wait for it before the next call. Rejects with what reading
   * it throws, with `aborted`, with `bad_model` if it took too long, with `out_of_memory` or
   * `worker_lost` if the worker died, and with NoWorker.
   */
  async read(
    prompt: string | readonly ChatMessage[],
    options: PromptOptions & { readonly chunks?: 'auto' | undefined },
    signal: AbortSignal | undefined,
  ): Promise<TextResult> {
    const answer = await this.#worker.run((id) => ({ type: 'read', id, prompt, options }), signal)
    if (answer.type === 'failed') throw new ForetokenError(answer.code, answer.message)
    return { ids: Array.from(answer.ids), chunks: answer.chunks, tokenizeMs: answer.tokenizeMs }
  }

  /** Ends the worker and rejects the prompt being read as `aborted`. */
  close(): void {
    this.#worker.close()
  }
}

function late(deadlineMs: number): ForetokenError {
  return new ForetokenError(
    'bad_model',
    `tokenizing this prompt took more than ${deadlineMs} ms: the model's chat template or its patterns take too long`,
  )
}

function died(reason: string): ForetokenError {
  return /memory|heap/i.test(reason)
    ? new ForetokenError('out_of_memory', `tokenizing this prompt took more memory than allowed: ${reason}`)
    : new ForetokenError('worker_lost', `the text worker ended: ${reason}; try again`)
}
