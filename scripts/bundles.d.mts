import type { BuildOptions } from 'esbuild'

export const bundles: Readonly<Record<string, BuildOptions>>
