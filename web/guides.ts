/** Loads the grammar engine into the engine's worker, at the first answer with a shape. */
import { guidesOf } from '../src/guide/guides.ts'
import type { OpenGuides } from '../src/index.ts'
import { instantiate } from '../wasm/dist/guide/guide.js'
import { builtBytes } from './built-bytes.ts'

/** Fetches and compiles the grammar engine; `base` is the page's address. Rejects with `network`. */
export async function fetchGuides(base: string): Promise<OpenGuides> {
  const module = await WebAssembly.compile(await builtBytes('guide', base))
  return (model) => guidesOf(() => instantiate(module), model)
}
