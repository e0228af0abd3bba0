/** Fetches the page's own files in the engine's worker. */
import { ForetokenError } from '../src/base/errors.ts'
import { type BuiltFile, built } from './built.ts'

/**
 * Fetches a built file. A failed download is an error, unlike a build that this browser can't
 * compile.
 */
export async function builtBytes(file: BuiltFile, base: string): Promise<ArrayBuffer> {
  const url = built(file, base)
  const response = await fetch(url).catch((cause) => {
    throw new ForetokenError('network', `${url} can't be reached (${cause.message}); check the network, then try again`)
  })
  if (!response.ok)
    throw new ForetokenError('network', `${url} answers ${response.status}; try again, or reload the page`)
  return response.arrayBuffer()
}
