/** Hashes a model's shape and the names, types and shapes of its tensors. */

import { sha256Hex } from '../base/hash.ts'
import type { ModelConfig, TensorInfo } from '../base/model.ts'

/** Returns a sha256 in hex. */
export async function fingerprint(config: ModelConfig, tensors: ReadonlyMap<string, TensorInfo>): Promise<string> {
  const sorted = Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1))
  const shapes = [...tensors].map(([name, { type, rows, cols }]) => [name, type, rows, cols].join(' ')).sort()
  const text = JSON.stringify({ config: sorted, tensors: shapes })
  return sha256Hex(new TextEncoder().encode(text))
}
