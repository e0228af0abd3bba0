/** esbuild's options for each bundle, by output file. `build.mjs` and the size test share them. */
import { root } from './setup.mjs'

const common = {
  absWorkingDir: root,
  bundle: true,
  format: 'esm',
  target: 'es2024',
  minify: true,
  legalComments: 'none',
  logLevel: 'warning',
  write: false,
  metafile: true,
  /** The oldest Node that package.json allows lacks this function. */
  define: { 'Promise.withResolvers': 'withResolvers' },
  inject: ['scripts/with-resolvers.mjs'],
}

const packages = ['@huggingface/*', '@hono/*', 'hono', 'hono/*', 'zod']
const node = { ...common, platform: 'node', minify: false, external: packages }
/** The app uses the engine of the library's bundle. */
const edge = { ...common, platform: 'neutral', minify: false, external: packages }

export const bundles = {
  /** The library for any platform, with its run-time dependencies. What few callers use is in parts that load on use. */
  'dist/index.js': {
    ...common,
    platform: 'neutral',
    mainFields: ['module', 'main'],
    entryPoints: { index: 'src/index.ts' },
    splitting: true,
    outdir: 'dist',
    chunkNames: 'index-[name]-[hash]',
  },
  /** The library with the parts for Node. */
  'dist/node.js': { ...node, entryPoints: ['node/index.ts'] },
  /** The `foretoken` command: a start, and the code of each command in files of its own. */
  'dist/cli.js': {
    ...node,
    entryPoints: { cli: 'cli/main.ts' },
    splitting: true,
    outdir: 'dist',
    chunkNames: 'cli-[name]-[hash]',
  },
  /** The OpenAI-compatible app, and its servers. */
  'dist/edge.js': { ...edge, entryPoints: ['edge/index.ts'] },
  'dist/edge-node.js': { ...node, entryPoints: ['edge/node.ts'] },
  /** The companion's app. */
  'dist/companion.js': { ...edge, entryPoints: ['companion/app.ts'] },
  'dist/edge-deno.js': { ...edge, entryPoints: ['edge/deno.ts'] },
  'dist/edge-bun.js': { ...edge, entryPoints: ['edge/bun.ts'] },
  /** The library and web workers. */
  'dist/browser.js': {
    ...common,
    platform: 'browser',
    stdin: {
      contents: "export * from './src/index.ts'\nexport { webGuides, webSpawn, webText } from './workers/web.ts'\n",
      resolveDir: root,
      loader: 'ts',
    },
  },
  /** The compute worker for Node and browsers. */
  'dist/worker.js': {
    ...common,
    platform: 'neutral',
    external: ['node:os', 'node:worker_threads'],
    entryPoints: ['workers/compute.ts'],
  },
  /** The text worker for Node and browsers. */
  'dist/text-worker.js': {
    ...common,
    platform: 'neutral',
    mainFields: ['module', 'main'],
    external: ['node:os', 'node:worker_threads'],
    entryPoints: ['workers/text.ts'],
  },
  /** The guide worker for Node and browsers. */
  'dist/guide-worker.js': {
    ...common,
    platform: 'neutral',
    mainFields: ['module', 'main'],
    external: ['node:os', 'node:worker_threads'],
    entryPoints: ['workers/guide.ts'],
  },
}
