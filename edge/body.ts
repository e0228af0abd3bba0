/** A request's body, read under limits: counted while it arrives, whatever content-length says. */
import { ApiError } from './errors.ts'

export interface BodyLimits {
  readonly bodyBytes: number
  readonly bodySeconds: number
}

/** The parsed JSON. Throws an ApiError: 400, 408, 413, 415. */
export async function readJson(request: Request, limits: BodyLimits): Promise<unknown> {
  const type = request.headers.get('content-type') ?? ''
  if (!/^application\/([a-z.-]+\+)?json\s*(;|$)/i.test(type))
    throw new ApiError(415, 'the content-type must be application/json', { code: 'unsupported_media_type' })
  const bytes = await readBytes(request, limits)
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    const what = cause instanceof SyntaxError ? 'JSON' : 'UTF-8'
    throw new ApiError(400, `the body is not valid ${what}`, { code: 'invalid_json', cause })
  }
}

/** The body, whole. Throws an ApiError: 400, 408, 413. */
export async function readBytes(
  request: Request,
  { bodyBytes, bodySeconds }: BodyLimits,
): Promise<Uint8Array<ArrayBuffer>> {
  if (Number(request.headers.get('content-length') ?? 0) > bodyBytes) throw tooLarge(bodyBytes)
  if (!request.body) return new Uint8Array()
  const reader = request.body.getReader()
  let late = false
  const timer = setTimeout(() => {
    late = true
    void reader.cancel().catch(() => {})
  }, bodySeconds * 1000)
  const parts: Uint8Array<ArrayBuffer>[] = []
  let length = 0
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (late)
        throw new ApiError(408, `the body did not arrive within ${bodySeconds} s`, {
          code: 'timeout',
          headers: closing,
        })
      if (done) break
      length += value.length
      if (length > bodyBytes) {
        void reader.cancel().catch(() => {})
        throw tooLarge(bodyBytes)
      }
      parts.push(value)
    }
  } catch (error) {
    if (error instanceof ApiError) throw error
    throw new ApiError(400, 'the body broke off', { code: 'incomplete_body', cause: error })
  } finally {
    clearTimeout(timer)
  }
  return joined(parts, length)
}

/** What has not arrived is not waited for. */
const closing = { connection: 'close' }

function tooLarge(most: number): ApiError {
  return new ApiError(413, `the body has more than ${most} bytes, the most that this server takes`, {
    code: 'body_too_large',
    headers: closing,
  })
}

function joined(parts: readonly Uint8Array<ArrayBuffer>[], length: number): Uint8Array<ArrayBuffer> {
  if (parts.length === 1) return parts[0]!
  const all = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
