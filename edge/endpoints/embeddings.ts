/** Answers `POST /v1/embeddings`. */
import type { EmbedOptions } from '../../src/index.ts'
import type { Computation } from '../compute.ts'
import { ApiError } from '../errors.ts'
import type { PlanContext } from '../exchange.ts'
import { inTurns } from '../json.ts'
import { type EmbeddingsRequest, embeddingsRequest } from '../schemas/embeddings.ts'
import { inputsOf, requireIds } from '../schemas/inputs.ts'

interface Embedding extends Computation<typeof embeddingsRequest> {
  /** Resolves with the vectors of a request, and with the number of tokens of all texts. */
  vectors(
    body: EmbeddingsRequest,
    context: PlanContext,
    options: { readonly tenant: string; readonly signal: AbortSignal },
  ): Promise<{ readonly vectors: readonly Float32Array[]; readonly total: number }>
}

export const embeddings: Embedding = {
  form: 'embedding',
  schema: embeddingsRequest,
  // A list of token ids is as long as a context; texts are counted once they are known to be some.
  entries: () => ({ input: 131_072 }),
  texts: ({ input }) => ({ param: 'input', list: inputsOf(input) }),
  async run(body, context, options) {
    const { vectors, total } = await this.vectors(body, context, options)
    const { model } = context
    const { signal } = options
    const usage = { prompt_tokens: total, total_tokens: total }
    const data = await inTurns(
      vectors,
      (vector, index) => {
        const embedding = body.encoding_format === 'base64' ? `"${base64Of(vector)}"` : vectorJson(vector)
        return `{"object":"embedding","index":${index},"embedding":${embedding}}`
      },
      signal,
      8,
    )
    const end = `],"model":${JSON.stringify(model)},"usage":${JSON.stringify(usage)}}`
    return { body: `{"object":"list","data":[${data.join(',')}${end}`, tokens: total }
  },
  async vectors(body, { engine, model }, options) {
    const { dimensions } = body
    const { hidden, dense, vocab } = engine.archive.config
    const width = dense?.at(-1) ?? hidden
    if (!engine.embed)
      throw new ApiError(
        400,
        `${model} is an ONNX export for answers, which makes no embeddings; serve a GGUF, a folder, or an export of an encoder`,
        { code: 'unsupported_value', param: 'model' },
      )
    if (dimensions && dimensions > width)
      throw new ApiError(400, `dimensions is ${dimensions}; ${model} makes vectors of ${width} numbers`, {
        code: 'invalid_value',
        param: 'dimensions',
      })
    requireIds('input', body.input, vocab)
    const { vectors, tokens } = await engine.embed(inputsOf(body.input), { ...optionsOf(body), ...options })
    return { vectors, total: tokens.reduce((sum, count) => sum + count, 0) }
  },
}

function optionsOf({ input_type: kind, prefix, pooling, normalize, dimensions }: EmbeddingsRequest): EmbedOptions {
  return {
    ...(kind && { kind }),
    ...(typeof prefix === 'string' && { prefix }),
    ...(pooling && { pooling }),
    ...(typeof normalize === 'boolean' && { normalize }),
    ...(dimensions && { dimensions }),
  }
}

/** Returns a vector as JSON: nine digits tell any two 32-bit floats apart. */
export function vectorJson(vector: Float32Array): string {
  return `[${Array.from(vector, (value) => Number(value.toPrecision(9))).join(',')}]`
}

function base64Of(vector: Float32Array): string {
  const bytes = new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength)
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return btoa(text)
}
