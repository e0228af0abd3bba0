/**
 * Stores of a Worker's weights: R2, static assets, or KV. Only the used part of each binding is
 * declared, so that no type packages are needed.
 */
import { ForetokenError } from '../src/index.ts'

export interface ShardStore {
  /** Opens the bytes of `file` from `offset` on. Rejects with `not_found` or `io`. */
  open(file: string, offset: number): Promise<ReadableStream<Uint8Array>>
}

export interface R2Like {
  get(
    key: string,
    options?: { range: { offset: number } },
  ): Promise<{ readonly body?: ReadableStream<Uint8Array> } | null>
}

export interface KvLike {
  get(key: string, options: { type: 'stream'; cacheTtl?: number }): Promise<ReadableStream<Uint8Array> | null>
}

export interface FetcherLike {
  fetch(request: Request): Promise<Response>
}

/** Reads objects of a bucket whose keys begin with `prefix`; ranges resume broken streams. */
export function r2Store(bucket: R2Like, prefix: string): ShardStore {
  return {
    async open(file, offset) {
      const key = prefix + file
      const object = await io(key, () => bucket.get(key, offset > 0 ? { range: { offset } } : undefined))
      if (!object) throw missing(key, 'the R2 bucket')
      if (!object.body) throw new ForetokenError('io', `R2 returned no body for ${key}`)
      return object.body
    },
  }
}

/**
 * Reads the Worker's static assets below `prefix`, at most 25 MiB each. If the host ignores a
 * range, the bytes before it are skipped.
 */
export function assetStore(assets: FetcherLike, prefix: string): ShardStore {
  return {
    async open(file, offset) {
      const url = new URL(prefix + file, 'https://assets.local/')
      const headers = offset > 0 ? { range: `bytes=${offset}-` } : {}
      const response = await io(file, () => assets.fetch(new Request(url, { headers })))
      if (response.status === 404) throw missing(url.pathname, 'the assets')
      if (!response.ok || !response.body) {
        await response.body?.cancel()
        throw new ForetokenError('io', `the assets answered ${response.status} for ${url.pathname}`)
      }
      return offset > 0 && response.status !== 206 ? skipped(response.body, offset) : response.body
    },
  }
}

/**
 * Reads values of a KV namespace, at most 25 MiB each. KV has no ranges, so the bytes before
 * `offset` are skipped.
 */
export function kvStore(namespace: KvLike, prefix: string): ShardStore {
  return {
    async open(file, offset) {
      const key = prefix + file
      const body = await io(key, () => namespace.get(key, { type: 'stream' }))
      if (!body) throw missing(key, 'the KV namespace')
      return offset > 0 ? skipped(body, offset) : body
    },
  }
}

function skipped(body: ReadableStream<Uint8Array>, bytes: number): ReadableStream<Uint8Array> {
  let left = bytes
  return body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(piece, controller) {
        const drop = Math.min(left, piece.length)
        left -= drop
        if (drop < piece.length) controller.enqueue(piece.subarray(drop))
      },
    }),
  )
}

async function io<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    throw new ForetokenError('io', `${what} could not be read: ${(cause as Error).message}`, { cause })
  }
}

function missing(what: string, where: string): ForetokenError {
  return new ForetokenError(
    'not_found',
    `${what} is not in ${where}; upload the complete output of foretoken deploy-prep`,
  )
}
