/** Every source file is in one folder of this list, and imports go only to earlier ones, type imports included. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import {
  cycles,
  type Folder,
  folderOf,
  importsOf,
  loosePermissions,
  sourceFiles,
  specifiers,
  violations,
} from './helpers/imports.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

/** A row of `folders`: its path, the reason for its place, and what it may import. */
function row(path: string, why: string, ...uses: string[]): Folder {
  return { path, why, uses }
}

/** Lowest first. Files of a folder may import each other, without rings. */
const folders: readonly Folder[] = [
  row('src/base', 'types, errors and tools that every folder needs; imports nothing'),
  row('src/backend', 'the interface of a machine; knows types only', 'src/base'),
  row('src/backend/wasm', 'the only code that touches wasm memory', 'src/base', 'src/backend'),
  row('src/backend/webgpu', 'the same interface on a GPU; knows no platform', 'src/base', 'src/backend'),
  row('src/kv', 'pages and who holds them; knows no model', 'src/base'),
  row('src/model', 'files to weights, and the forward; knows no request', 'src/base', 'src/backend'),
  row('src/tools', 'how calls of tools are written and read, as text; knows no tokenizer', 'src/base'),
  row('src/tokens', 'text to token ids and back; runs no model', 'src/base', 'src/model', 'src/tools'),
  row('src/stream', 'tokens to events; knows no model', 'src/base'),
  row('src/pack', 'many prompts to one pass', 'src/base', 'src/kv', 'src/model'),
  row(
    'src/predict',
    'what a predictor is: plan, file, maps, choice; runs no prompt',
    'src/base',
    'src/backend',
    'src/kv',
    'src/model',
    'src/pack',
  ),
  row(
    'src/prefill',
    'how a prompt becomes K and V',
    'src/base',
    'src/backend',
    'src/kv',
    'src/model',
    'src/pack',
    'src/predict',
  ),
  row(
    'src/decode',
    'passes and tokens for many requests; prefill is handed in',
    'src/base',
    'src/backend',
    'src/kv',
    'src/model',
    'src/pack',
  ),
  row(
    'src/guide',
    'grammars for the matchers that decode asks for; the wasm module is handed in',
    'src/base',
    'src/decode',
  ),
  row(
    'src/transfer',
    'K, V and answers between machines: reads prompts ahead, and yields to requests in decode',
    'src/base',
    'src/kv',
    'src/model',
    'src/predict',
    'src/prefill',
    'src/decode',
  ),
  row(
    'src/evaluate',
    'what predicting, pruning and sending cost in quality',
    'src/base',
    'src/backend',
    'src/kv',
    'src/model',
    'src/pack',
    'src/predict',
    'src/prefill',
    'src/decode',
    'src/transfer',
  ),
  row(
    'src/fit',
    'makes predictors, and judges them while it does',
    'src/base',
    'src/backend',
    'src/kv',
    'src/model',
    'src/pack',
    'src/predict',
    'src/prefill',
    'src/evaluate',
  ),
  row(
    'src/engine',
    'the data path; joins all stages, and is joined by none',
    'src/base',
    'src/backend',
    'src/backend/wasm',
    'src/kv',
    'src/model',
    'src/tokens',
    'src/stream',
    'src/pack',
    'src/predict',
    'src/prefill',
    'src/decode',
    'src/transfer',
    'src/fit',
  ),
  row(
    'src/onnx',
    'ONNX Runtime behind the interface of an engine',
    'src/base',
    'src/model',
    'src/tokens',
    'src/stream',
    'src/engine',
  ),
  row(
    'src/route',
    'an engine here or a companion elsewhere, by measured cost',
    'src/base',
    'src/tokens',
    'src/stream',
    'src/decode',
    'src/transfer',
    'src/engine',
  ),
  row('src/index.ts', 'the public names', 'src/'),
  row(
    'workers',
    'threads run kernels, tokenizers and grammar compilers, never an engine',
    'src/base',
    'src/backend/wasm',
    'src/tokens',
    'src/guide',
  ),
  row(
    'edge',
    'a stranger could have written it: only public names, and the text workers of hosts',
    'src/index.ts',
    'workers',
  ),
  row('node', 'files, the store, cores, devices: the rim of Node', 'src/', 'workers', 'edge'),
  row('companion', 'reads prompts for edges, and is an endpoint itself', 'src/', 'edge', 'node'),
  row('playground', 'two tools to try calls with, and the loop that runs them; knows no engine', 'src/index.ts'),
  row('web', 'the page: an engine in a tab', 'src/', 'workers', 'playground'),
  row('bench', 'measures all of the above', 'src/', 'edge', 'node', 'companion', 'web'),
  row('cli', 'the command; runs the benchmarks, too', 'src/', 'edge', 'node', 'companion', 'playground', 'bench'),
]
const roots = [...new Set(folders.map(({ path }) => path.split('/')[0]!))]

/** Packages and platform modules by who may import them; a file in no row may import any. */
function outside(file: string, to: string): string[] {
  if (to.startsWith('.') || roots.includes(to.split('/')[0]!)) return []
  const platform = /^(node|cloudflare|bun|deno):/.test(to)
  if (file.startsWith('src/') && platform) return [`${file} imports ${to}: src knows no platform`]
  const known = ['@huggingface/tokenizers', '@huggingface/jinja']
  if (file.startsWith('src/') && !known.includes(to)) return [`${file} imports ${to}: src takes only ${known}`]
  if (/^hono(\/|$)|^@hono\//.test(to) && !/^(edge|companion)\//.test(file)) return [`${file} imports ${to}`]
  return []
}

function check(at: string) {
  const files = sourceFiles(at, roots)
  const imports = importsOf(at, files)
  const inside = imports.filter(({ to }) => files.includes(to))
  const placed = inside.filter(({ from }) => !/^bench\/peers\//.test(from))
  return {
    files,
    order: violations(placed, folders),
    loose: loosePermissions(placed, folders),
    rings: cycles(inside),
    foreign: imports.flatMap(({ from, to }) => outside(from, to)),
    missing: imports.filter(({ to }) => /^(src|workers|node|cli|bench)\//.test(to) && !files.includes(to)),
  }
}

describe('this repository', () => {
  const found = check(root)

  test('has source files, each in a folder', () => {
    expect(found.files.length).toBeGreaterThan(40)
    expect(found.files.filter((file) => !folderOf(file, folders))).toEqual([])
  })
  test('says why each folder has its place', () => {
    expect(folders.filter(({ why }) => why.length < 15)).toEqual([])
  })
  test('imports in one direction', () => expect(found.order).toEqual([]))
  test('permits only what is needed, and only earlier folders', () => expect(found.loose).toEqual([]))
  test('has no import cycles', () => expect(found.rings).toEqual([]))
  test('keeps platforms and frameworks at the rim', () => expect(found.foreign).toEqual([]))
  test('imports only existing files', () => expect(found.missing).toEqual([]))
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
    ['a value import upwards', { 'src/kv/a.ts': "import { e } from '../engine/e.ts'", 'src/engine/e.ts': '' }, 'order'],
    [
      'a type import upwards',
      { 'src/base/a.ts': "import type { M } from '../model/m.ts'", 'src/model/m.ts': '' },
      'order',
    ],
    ['a dynamic import upwards', { 'src/index.ts': "import('../node/a.ts')", 'node/a.ts': '' }, 'order'],
    ['a re-export upwards', { 'workers/a.ts': "export * from '../cli/b.ts'", 'cli/b.ts': '' }, 'order'],
    ['stages that know each other', { 'src/decode/a.ts': "import '../tokens/b.ts'", 'src/tokens/b.ts': '' }, 'order'],
    ['a permission turned round', { 'src/pack/a.ts': "import '../decode/b.ts'", 'src/decode/b.ts': '' }, 'order'],
    [
      'the interface that knows one of its implementations',
      { 'src/backend/a.ts': "import type { B } from './wasm/b.ts'", 'src/backend/wasm/b.ts': '' },
      'order',
    ],
    [
      'two implementations that know each other',
      { 'src/backend/wasm/a.ts': "import '../webgpu/b.ts'", 'src/backend/webgpu/b.ts': '' },
      'order',
    ],
    [
      'an implementation where the interface is enough',
      { 'src/model/a.ts': "import '../backend/wasm/b.ts'", 'src/backend/wasm/b.ts': '' },
      'order',
    ],
    ['a loose file at the root of src', { 'src/a.ts': "import './index.ts'", 'src/index.ts': '' }, 'order'],
    [
      'a ring of types',
      { 'src/kv/a.ts': "import type { B } from './b.ts'", 'src/kv/b.ts': "import type { A } from './a.ts'" },
      'rings',
    ],
    ['node: in src', { 'src/kv/a.ts': "import type { Stats } from 'node:fs'" }, 'foreign'],
    ['cloudflare: in src', { 'src/kv/a.ts': "await import('cloudflare:workers')" }, 'foreign'],
    ['a package in src', { 'src/model/a.ts': "import '@huggingface/hub'" }, 'foreign'],
    ['hono in the library', { 'node/a.ts': "import { Hono } from 'hono'" }, 'foreign'],
    [
      'the insides of the library at the edge',
      { 'edge/a.ts': "import '../src/engine/e.ts'", 'src/engine/e.ts': '' },
      'order',
    ],
    ['a file that is not there', { 'node/a.ts': "import './b.ts'" }, 'missing'],
  ])('finds: %s', (_, files, kind) => {
    const found = withTree(files, check)
    expect(found[kind]).toHaveLength(1)
  })

  test('accepts what is allowed', () => {
    const files = {
      'src/base/kv.ts': '',
      'src/kv/k.ts': "import type { P } from '../base/kv.ts'",
      'src/pack/p.ts': "import type { P } from '../kv/k.ts'",
      'src/decode/a.ts': "import '../pack/p.ts'",
      'src/engine/e.ts': "import '../decode/a.ts'\nimport '@huggingface/jinja'",
      'src/index.ts': "export { e } from './engine/e.ts'",
      'node/a.ts': "import '../src/engine/e.ts'\nimport '../src/index.ts'\nimport 'node:fs'",
      'edge/a.ts': "import 'hono'\nimport '../src/index.ts'",
    }
    const { order, rings, foreign, missing } = withTree(files, check)
    expect([...order, ...rings, ...foreign, ...missing]).toEqual([])
  })

  test.each<[string, readonly Folder[], string]>([
    ['a later folder', [row('a', '', 'b'), row('b', '')], 'a uses b, which is not an earlier folder'],
    ['itself', [row('a', '', 'a')], 'a uses a, which is not an earlier folder'],
    ['later folders, by a prefix', [row('a', '', 'b/'), row('b/c', '')], 'a uses b/, which is not a folder'],
    ['no folder', [row('a', ''), row('b', '', 'c')], 'b uses c, which is not a folder'],
    ['more than is imported', [row('a', ''), row('b', '', 'a')], 'b does not import a'],
  ])('refuses a permission for %s', (_, rows, message) => {
    expect(loosePermissions([], rows)).toEqual([message])
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
