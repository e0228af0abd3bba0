/** Fits the maps of the SwiftKV baseline, when they are first needed. */
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import type { SwiftKvMaps } from '../../bench/quality/methods.ts'
import type { Engine } from '../../node/index.ts'
import { swiftKvHeader } from '../../src/evaluate/skipped.ts'
import { memorySource } from '../../src/model/source.ts'
import { type PredictorFile, readPredictor, writePredictor } from '../../src/predict/file.ts'
import { type DocumentSets, readDocuments } from '../fit/documents.ts'
import { fitSources } from '../fit/sources.ts'
import { writeWhole } from '../session.ts'

/** Fits SwiftKV as the shipped predictor's closed form was fitted. */
export const swiftKvFit = { tokens: 20_000, ridge: 1e-3, longest: 1024 } as const

export interface SwiftKvOptions {
  /** Opens an engine of the model without a predictor; the caller closes it. */
  readonly open: () => Promise<Engine>
  /** Files of texts to fit from. */
  readonly texts: readonly string[]
  readonly seed: number
  /** Number of tokens to fit from. */
  readonly tokens: number
  /** Fitted maps are kept in files whose names begin with this; without it, they are not kept. */
  readonly keep: string | undefined
  readonly signal: AbortSignal
  readonly onProgress: (text: string) => void
}

/** Returns a function that fits the maps for skipping the layers from one on. */
export function swiftKvMaps({ open, texts, seed, tokens, keep, signal, onProgress }: SwiftKvOptions): SwiftKvMaps {
  let reading: Promise<DocumentSets> | undefined
  const { ridge, longest } = swiftKvFit
  return async (from) => {
    const path = keep && `${keep}.swiftkv-${from}.safetensors`
    const engine = await open()
    try {
      const { layers, hidden, kvHeads, headDim } = engine.archive.config
      const model = {
        base: engine.identity,
        base_name: engine.archive.name,
        layers,
        hidden,
        kv_width: kvHeads * headDim,
      }
      const data = texts.map((path) => basename(path))
      const header = swiftKvHeader(model, from, { method: 'closed form', data, seed, tokens, ridge, longest })
      const before = await keptFile(path)
      if (before && JSON.stringify(before.header) === JSON.stringify(header)) return before
      reading ??= readDocuments(texts, seed)
      const { training } = await reading
      const options = { seed: seed * 1000, most: Math.min(longest, engine.context), tokens, lambda: ridge, signal }
      const file = await fitSources(engine, header, training, {
        ...options,
        onProgress: ({ tokens: now }) =>
          onProgress(`fitting SwiftKV from layer ${from} on: ${now} of ${tokens} tokens`),
      })
      if (path) await writeWhole(path, await writePredictor(file))
      return file
    } finally {
      await engine.close()
    }
  }
}

/** Returns what an earlier run kept; a file that cannot be read is made again. */
async function keptFile(path: string | undefined): Promise<PredictorFile | undefined> {
  const bytes = path === undefined ? undefined : await readFile(path).catch(() => undefined)
  return bytes && (await readPredictor(memorySource(path ?? '', bytes)).catch(() => undefined))
}
