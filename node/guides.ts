/** Loads the grammar engine from disk. */
import { readFile } from 'node:fs/promises'
import { type OpenGuides, openGuides } from '../src/index.ts'
import type { Guide as GuideClasses } from '../wasm/dist/guide/guide.js'
import { nodeGuides } from '../workers/node.ts'
import { fileError } from './disk.ts'
import { wasmFolder } from './wasm.ts'
import { guideWorker } from './workers.ts'

/**
 * Reads and compiles the grammar engine, for `EngineOptions.guides`. Each call compiles it again. Grammars
 * that may take long are compiled in a worker thread.
 * Throws `io`, `not_found`.
 */
export async function loadGuides(): Promise<OpenGuides> {
  const folder = new URL('guide/', wasmFolder)
  const bytes = await readFile(new URL('guide.wasm', folder)).catch((error) => {
    throw fileError(error, 'the grammar engine, guide.wasm')
  })
  // Imported by its address, so that no bundle holds it.
  const glue = new URL('guide.js', folder).href
  const [{ instantiate }, module] = await Promise.all([
    import(glue) as Promise<{ readonly instantiate: (module: WebAssembly.Module) => GuideClasses }>,
    WebAssembly.compile(bytes),
  ])
  return openGuides(() => instantiate(module), { spawn: nodeGuides(guideWorker), module, glue })
}
