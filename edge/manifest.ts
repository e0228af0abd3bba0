/**
 * The manifest that `deploy-prep` writes beside the weights: the shards, the hash of every chunk,
 * and the settings to run them with.
 */
import { z } from 'zod'
import { ForetokenError } from '../src/index.ts'

export const manifestFile = 'manifest.json'
/** Maximum size of a manifest, in bytes; for a gigabyte of weights it has 150 KB. */
export const maxManifest = 1 << 20
/** Bytes per chunk: each is read, checked and used as a whole. */
export const chunkBytes = 1 << 20

const whole = z.int().min(0)
const hash = z.string().regex(/^[0-9a-f]{64}$/)
/** A plain name, valid as a store's key and as a file name. */
const plain = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/)

const shard = z.strictObject({
  file: plain,
  bytes: whole.min(1),
  /** Hash of the whole shard, for people and tools. */
  sha256: hash,
  /** Hashes of the chunks, in order. */
  chunks: z.array(hash).min(1).max(4096),
})
const split = z.strictObject({ bytes: whole.min(1), shards: z.array(shard).min(1).max(4096) })
const plan = z.record(z.string(), whole)

const schema = z.strictObject({
  format: z.literal('foretoken deploy'),
  version: z.literal(1),
  model: z.string().min(1).max(200),
  chunk: z.literal(chunkBytes),
  weights: split,
  predictor: split.optional(),
  /** Files of chunks, see `Engine.saveChunks`. */
  chunks: z.array(split).max(64).optional(),
  settings: z.strictObject({
    context: whole.min(2),
    kvTokens: whole.min(2),
    kv: z.enum(['f32', 'f16', 'int8']),
    passTokens: whole.min(1).max(4096),
    streams: whole.min(1).max(1024),
    guides: z.boolean().optional(),
    chunkBytes: whole.optional(),
  }),
  /** Bytes of each part, see `MemoryPlan`. */
  plan,
})

export type Manifest = z.infer<typeof schema>
export type Split = z.infer<typeof split>
export type Shard = z.infer<typeof shard>

/** Parses a manifest. Throws `bad_model` if it is malformed or inconsistent. */
export function readManifest(text: string): Manifest {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw bad('is not JSON')
  }
  const { success, data, error } = schema.safeParse(json)
  if (!success) throw bad(`is malformed: ${z.prettifyError(error).slice(0, 300)}`)
  for (const { bytes, shards } of [data.weights, ...(data.predictor ? [data.predictor] : []), ...(data.chunks ?? [])]) {
    const sum = shards.reduce((total, { bytes }) => total + bytes, 0)
    if (sum !== bytes) throw bad(`has shards of ${sum} bytes in all, not ${bytes}`)
    shards.forEach((part, index) => {
      if (part.chunks.length !== Math.ceil(part.bytes / chunkBytes))
        throw bad(`has ${part.chunks.length} hashes for the ${part.bytes} bytes of ${part.file}`)
      if (index < shards.length - 1 && part.bytes % chunkBytes !== 0) throw bad(`splits ${part.file} inside a chunk`)
    })
  }
  return data
}

function bad(what: string): ForetokenError {
  return new ForetokenError('bad_model', `${manifestFile} ${what}; write it again with foretoken deploy-prep`)
}
