/** Addresses of the page's own files, put in when it is built (scripts/web.mjs): relative to the page, with the hash of what they hold. */
declare const __FILES__: Readonly<Record<'engine' | 'compute' | CoreForm, string>>

export type CoreForm = 'simd128' | 'relaxed' | 'simd128-threads' | 'relaxed-threads'

/** An address in the folder of the page; `base` is the page's own. */
export function built(file: keyof typeof __FILES__, base: string): URL {
  return new URL(__FILES__[file], base)
}
