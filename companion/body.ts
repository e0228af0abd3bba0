/** The body of a request whose head was verified: of a length that is known, into one buffer. */
import { ApiError, stopping } from '../edge/errors.ts'

export interface BodyBounds {
  /** Largest body of a request. */
  readonly bodyBytes: number
  /** Until it has arrived. */
  readonly bodySeconds: number
  /** Aborted when the companion stops: bodies that are still on their way are refused. */
  readonly drain?: AbortSignal | undefined
}

/** A chunk costs more than its bytes: bodies in more chunks than this, of fewer bytes than that each, are refused. */
const manyChunks = 1 << 16
const leastChunk = 16

/**
 * Exactly `length` bytes, within `seconds`, as they were sent: what is signed is not decoded first. Throws an ApiError of 400 for more or fewer, and of
 * 408, and of 503 once `drain` aborts.
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
    // Ends a read that waits.
    void reader.cancel().catch(() => {})
  }
  const late = () => stop(new ApiError(408, `the body did not arrive within ${bodySeconds} s`, { code: 'timeout' }))
  const timer = setTimeout(late, bodySeconds * 1000)
  const onDrain = () => stop(stopping('the companion'))
  drain?.addEventListener('abort', onDrain)
  if (drain?.aborted) onDrain()
  let at = 0
  let chunks = 0
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (fault) throw fault
      if (done) break
      if (at + value.length > length) throw wrong(at + value.length, length)
      body.set(value, at)
      at += value.length
      if (++chunks > manyChunks && at < leastChunk * chunks)
        throw new ApiError(400, `the body comes in ${chunks} chunks for ${at} bytes; send larger ones`, {
          code: 'invalid_body',
        })
    }
  } catch (error) {
    void reader.cancel().catch(() => {})
    if (error instanceof ApiError) throw error
    throw new ApiError(400, 'the body broke off', { code: 'incomplete_body', cause: error })
  } finally {
    clearTimeout(timer)
    drain?.removeEventListener('abort', onDrain)
  }
  if (at < length) throw wrong(at, length)
  return body
}

function wrong(found: number, length: number): ApiError {
  const more = found > length ? 'at least ' : ''
  return new ApiError(400, `the body has ${more}${found} bytes, and the signed head says ${length}`, {
    code: 'invalid_body',
  })
}
