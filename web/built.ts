/**
 * Addresses of the page's own files, inserted by the build (scripts/web.mjs): relative to the page,
 * and named by the hash of their contents.
 */
declare const __FILES__: Readonly<Record<BuiltFile, string>>

export type BuiltFile = 'engine' | 'compute' | 'guide' | CoreForm

export type CoreForm = 'simd128' | 'relaxed' | 'simd128-threads' | 'relaxed-threads'

/** Returns the address of a built file; `base` is the page's address. */
export function built(file: BuiltFile, base: string): URL {
  return new URL(__FILES__[file], base)
}
