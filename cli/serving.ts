/** What `serve` and `companion` have in common. */
import { basename } from 'node:path'
import { type ByteSource, defaultModel, shippedPredictor } from '../node/index.ts'
import type { Flags } from './flags.ts'

/** The last part of a path, without its ending; other names as they are. */
export function displayName(model: string): string {
  const path = /^(\.{0,2}\/|~)|\.gguf$/.test(model) && !/^(hf|https?):/.test(model)
  return path ? basename(model).replace(/\.gguf$/, '') : model
}

export function isLoopback(hostname: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|::1)$/.test(hostname)
}

/** Requests may ask for predicted prefill whatever the default is, if a predictor is there. */
export async function predictorFor({
  model = defaultModel,
  predictor,
  prefill = 'exact',
}: Flags): Promise<{ predictor?: ByteSource }> {
  if (predictor !== undefined || prefill !== 'exact') return {}
  const shipped = await shippedPredictor(model)
  return shipped ? { predictor: shipped } : {}
}

export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
