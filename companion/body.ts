/** Reads the body of a request whose signed head was verified, and states its length. */

import { ApiError, stopping } from '../edge/errors.ts'
import { after } from '../src/index.ts'

export interface BodyBounds {
  /** Maximum size of a request body, in bytes. */
  readonly bodyBytes: number
  /** Time until the whole body has arrived. */
  readonly bodySeconds: number
  /** Aborted when the companion stops. Bodies that are still arriving are refused then. */
  readonly drain?: AbortSignal | undefined
}

/**
 * A chunk costs more than its bytes. Bodies of more than `manyChunks` chunks with fewer than
 * `leastChunk` bytes each, on average, are refused.
 */
const manyChunks = 1 << 16
const leastChunk = 16

/**
 * Returns exactly `length` bytes, as they were sent, since a signature covers the encoded bytes.
 * Throws an ApiError of 400 for more or fewer bytes, of 408 after `bodySeconds`, and of 503 once
 * `drain` aborts.
 */
export async function readSignedBody(
  request: Request,
  length: number,
  { bodySeconds, drain }: Pick<BodyBounds, 'bodySeconds' | 'drain'>,
): Promise<Uint8Array<ArrayBuffer>> {
  if (!request.body) {
    if (length > 0) throw wrong(0, length)
    return new Uint8Array()
  }
  const body = new Uint8Array(length)
  const reader = request.body.getReader()
  let fault: ApiError | undefined
  const stop = (why: ApiError) => {
    fault ??= why
    // Ends the pending read.
    void reader.cancel().catch(() => {})
  }
  const late = () => stop(new ApiError(408, `the body did not arrive within ${bodySeconds} s`, { code: 'timeout' }))
  const stopTimer = after(bodySeconds * 1000, late)
  const onDrain = () => stop(stopping('the companion'))
  drain?.addEventListener('abort', onDrain)
  if (drain?.aborted) onDrain()
  let received = 0
  let chunks = 0
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (fault) throw fault
      if (done) break
      if (received + value.length > length) throw wrong(received + value.length, length)
      body.set(value, received)
      received += value.length
      if (++chunks > manyChunks && received < leastChunk * chunks)
        throw new ApiError(400, `the body comes in ${chunks} chunks for ${received} bytes; send larger ones`, {
          code: 'invalid_body',
        })
    }
  } catch (error) {
    void reader.cancel().catch(() => {})
    if (error instanceof ApiError) throw error
    throw new ApiError(400, 'the body broke off', { code: 'incomplete_body', cause: error })
  } finally {
    stopTimer()
    drain?.removeEventListener('abort', onDrain)
  }
  if (received < length) throw wrong(received, length)
  return body
}

/** The error for a body of another length than signed. */
function wrong(found: number, length: number): ApiError {
  const more = found > length ? 'at least ' : ''
  return new ApiError(400, `the body has ${more}${found} bytes, and the signed head says ${length}`, {
    code: 'invalid_body',
  })
}
