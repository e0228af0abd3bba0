/** Guides of a model whose tokens are the 256 bytes, so that any text is the tokens of its UTF-8. */
import { readFileSync } from 'node:fs'
import type { Guides } from '../../src/decode/guide.ts'
import { guidesOf } from '../../src/guide/guides.ts'
import type { Guide } from '../../src/index.ts'
import { instantiate } from '../../wasm/dist/guide/guide.js'

/** The token that ends an answer. */
const end = 256

export function bytesGuides(): Guides {
  const bytes = readFileSync(new URL('../../wasm/dist/guide/guide.wasm', import.meta.url))
  const module = new WebAssembly.Module(bytes)
  return guidesOf(() => instantiate(module), {
    vocab: end + 1,
    eosIds: [end],
    tokenizer: {
      vocabSize: end + 1,
      tokenBytes: (id: number) => (id < end ? Uint8Array.of(id) : new Uint8Array(0)),
      isSpecial: (id: number) => id === end,
      encode: (text: string) => [...Buffer.from(text)],
    },
  })
}

/** Returns whether `text` is a whole answer under the guide. Throws what compiling throws. */
export function accepts(guides: Guides, guide: Guide, text: string): boolean {
  const matcher = guides.matcher(guide)
  const mask = new Uint32Array(Math.ceil((end + 1) / 32))
  const allowed = (id: number) => matcher.mask(mask) && (((mask[id >>> 5] ?? 0) >>> (id & 31)) & 1) === 1
  try {
    for (const byte of Buffer.from(text)) {
      if (!allowed(byte)) return false
      matcher.accept(byte)
    }
    return allowed(end)
  } finally {
    matcher.end()
  }
}
