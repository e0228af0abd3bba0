/** Imports go only one way, type imports included; ARCHITECTURE.md tells the same order in words. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { cycles, importsOf, type Layer, sourceFiles, specifiers, violations } from './helpers/imports.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const folders = ['src', 'workers', 'node', 'edge', 'companion', 'cli', 'bench', 'web']

/** Lowest first. */
const layers: Layer[] = [
  { name: 'nouns', rank: 0, holds: /^src\/(types|errors|callback|checks|trace|turn|lifetime)\.ts$/ },
  { name: 'kv', rank: 1, holds: /^src\/kv\// },
  { name: 'backend', rank: 1, holds: /^src\/backend\// },
  { name: 'model', rank: 2, holds: /^src\/model\// },
  ...['tokens', 'pack', 'prefill', 'route', 'decode', 'stream', 'fit'].map((name) => ({
    name,
    rank: 3,
    holds: new RegExp(`^src/${name}/`),
  })),
  {
    name: 'engine',
    rank: 4,
    holds:
      /^src\/(engine|any-engine|options|answer|places|submission|many|ort-engine|ort-submission|routed|routed-answer|saved-prefix|kv-sender|kv-receiver|workbench|parts)\.ts$/,
  },
  { name: 'index', rank: 5, holds: /^src\/index\.ts$/ },
  { name: 'workers', rank: 6, holds: /^workers\// },
  { name: 'edge', rank: 6, holds: /^edge\// },
  { name: 'node', rank: 7, holds: /^node\// },
  { name: 'companion', rank: 8, holds: /^companion\// },
  { name: 'bench', rank: 9, holds: /^bench\// },
  { name: 'web', rank: 9, holds: /^web\// },
  { name: 'cli', rank: 9, holds: /^cli\// },
]

/** Entries of hosts name their text workers; prefill and decode make passes, fitting runs predicted ones; `foretoken bench` runs the benchmarks, and those drive the page's worker. */
const allowed = ['prefill>pack', 'decode>pack', 'fit>pack', 'fit>prefill', 'cli>bench', 'bench>web', 'edge>workers']

/** Packages and platform modules by who may import them; a file in no row may import any. */
function outside(file: string, to: string): string[] {
  // What an endpoint needs of the engine is public: nobody else could write one otherwise.
  if (file.startsWith('edge/') && /^(src|node|cli|bench)\//.test(to) && to !== 'src/index.ts')
    return [`${file} imports ${to}: edge takes only src/index.ts`]
  if (to.startsWith('.') || /^(src|workers|node|edge|companion|cli|bench|web)\//.test(to)) return []
  const platform = /^(node|cloudflare|bun|deno):/.test(to)
  if (file.startsWith('src/') && platform) return [`${file} imports ${to}: src knows no platform`]
  const known = ['@huggingface/tokenizers', '@huggingface/jinja']
  if (file.startsWith('src/') && !known.includes(to)) return [`${file} imports ${to}: src takes only ${known}`]
  if (/^hono(\/|$)|^@hono\//.test(to) && !/^(edge|companion)\//.test(file)) return [`${file} imports ${to}`]
  return []
}

function check(at: string) {
  const files = sourceFiles(at, folders)
  const imports = importsOf(at, files)
  const inside = imports.filter(({ to }) => files.includes(to))
  return {
    files,
    order: violations(inside, layers, allowed),
    rings: cycles(inside),
    foreign: imports.flatMap(({ from, to }) => outside(from, to)),
    missing: imports.filter(({ to }) => /^(src|workers|node|cli|bench)\//.test(to) && !files.includes(to)),
  }
}

describe('this repository', () => {
  const found = check(root)

  test('has source files, each in a layer', () => {
    expect(found.files.length).toBeGreaterThan(40)
    expect(
      found.files.filter((file) => !layers.some(({ holds }) => holds.test(file)) && !/^bench\/peers\//.test(file)),
    ).toEqual([])
  })
  test('imports in one direction', () => expect(found.order).toEqual([]))
  test('has no rings', () => expect(found.rings).toEqual([]))
  test('keeps platforms and frameworks at the rim', () => expect(found.foreign).toEqual([]))
  test('imports only files that are there', () => expect(found.missing).toEqual([]))
})

describe('the checker', () => {
  test.each([
    ['static', "import { a } from './a.ts'", ['./a.ts']],
    ['type', "import type { A } from './a.ts'", ['./a.ts']],
    ['many lines', "import {\n  type A,\n  b,\n} from './a.ts'", ['./a.ts']],
    ['side effect', "import './a.ts'", ['./a.ts']],
    [
      're-export',
      "export { a } from './a.ts'\nexport * from './b.ts'\nexport type * from './c.ts'",
      ['./a.ts', './b.ts', './c.ts'],
    ],
    ['dynamic', "const a = await import('./a.ts')", ['./a.ts']],
    ['type expression', "let a: import('./a.ts').A", ['./a.ts']],
    ['require', "const a = require('node:fs')", ['node:fs']],
    ['comment', "// import './a.ts'\n/* import './b.ts' */", []],
    ['address in a string', "const a = 'http://x' // import './a.ts'\nimport './b.ts'", ['./b.ts']],
    ['no import', "export const from = 'x'\nArray.from('y')", []],
  ])('reads: %s', (_, text, expected) => expect(specifiers(text).sort()).toEqual(expected))

  test.each<[string, Record<string, string>, 'order' | 'rings' | 'foreign' | 'missing']>([
    ['a value import upwards', { 'src/kv/a.ts': "import { e } from '../engine.ts'", 'src/engine.ts': '' }, 'order'],
    [
      'a type import upwards',
      { 'src/types.ts': "import type { M } from './model/m.ts'", 'src/model/m.ts': '' },
      'order',
    ],
    ['a dynamic import upwards', { 'src/index.ts': "import('../node/a.ts')", 'node/a.ts': '' }, 'order'],
    ['a re-export upwards', { 'workers/a.ts': "export * from '../cli/b.ts'", 'cli/b.ts': '' }, 'order'],
    ['stages of one level', { 'src/decode/a.ts': "import '../tokens/b.ts'", 'src/tokens/b.ts': '' }, 'order'],
    ['an exception turned round', { 'src/pack/a.ts': "import '../decode/b.ts'", 'src/decode/b.ts': '' }, 'order'],
    ['kv and backend', { 'src/kv/a.ts': "import type { B } from '../backend/b.ts'", 'src/backend/b.ts': '' }, 'order'],
    [
      'a ring of types',
      { 'src/kv/a.ts': "import type { B } from './b.ts'", 'src/kv/b.ts': "import type { A } from './a.ts'" },
      'rings',
    ],
    ['node: in src', { 'src/a.ts': "import type { Stats } from 'node:fs'" }, 'foreign'],
    ['cloudflare: in src', { 'src/a.ts': "await import('cloudflare:workers')" }, 'foreign'],
    ['a package in src', { 'src/model/a.ts': "import '@huggingface/hub'" }, 'foreign'],
    ['hono in the library', { 'node/a.ts': "import { Hono } from 'hono'" }, 'foreign'],
    [
      'the insides of the library at the edge',
      { 'edge/a.ts': "import '../src/engine.ts'", 'src/engine.ts': '' },
      'foreign',
    ],
    ['a file that is not there', { 'node/a.ts': "import './b.ts'" }, 'missing'],
  ])('finds: %s', (_, files, kind) => {
    const found = withTree(files, check)
    expect(found[kind]).toHaveLength(1)
  })

  test('lets through what is allowed', () => {
    const files = {
      'src/types.ts': '',
      'src/pack/p.ts': "import type { P } from '../types.ts'",
      'src/decode/a.ts': "import '../pack/p.ts'",
      'src/engine.ts': "import './decode/a.ts'\nimport '@huggingface/jinja'",
      'node/a.ts': "import '../src/engine.ts'\nimport 'node:fs'",
      'edge/a.ts': "import 'hono'\nimport '../src/index.ts'",
      'src/index.ts': '',
    }
    const { order, rings, foreign, missing } = withTree(files, check)
    expect([...order, ...rings, ...foreign, ...missing]).toEqual([])
  })
})

function withTree<T>(files: Record<string, string>, use: (at: string) => T): T {
  const at = mkdtempSync(join(tmpdir(), 'foretoken-imports-'))
  try {
    for (const [file, text] of Object.entries(files)) {
      mkdirSync(dirname(join(at, file)), { recursive: true })
      writeFileSync(join(at, file), text)
    }
    return use(at)
  } finally {
    rmSync(at, { recursive: true, force: true })
  }
}
