/** Where a Worker's weights lie: R2, static assets, or KV. Only what is used of the bindings is described, so that no types are needed. */
import { ForetokenError } from '../src/index.ts'

export interface ShardStore {
  /** The bytes of `file` from `offset` on. Throws `not_found`, `io`. */
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

/** Objects of a bucket whose keys begin with `prefix`; broken streams go on by range. */
export function r2Store(bucket: R2Like, prefix: string): ShardStore {
  return {
    async open(file, offset) {
      const key = prefix + file
      const object = await io(key, () => bucket.get(key, offset > 0 ? { range: { offset } } : undefined))
      if (!object) throw missing(key, 'the R2 bucket')
      if (!object.body) throw new ForetokenError('io', `R2 gave no body for ${key}`)
      return object.body
    },
  }
}

/** Files of the Worker's static assets below `prefix`, at most 25 MiB each. A range is asked for and, where it is ignored, skipped. */
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

/** Values of a KV namespace, at most 25 MiB each; it has no ranges, so what was read before a break is skipped. */
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
    `${what} is not in ${where}; upload what foretoken deploy-prep wrote, all of it`,
  )
}
