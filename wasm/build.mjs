/**
 * Builds the four forms of the core into wasm/dist and records what built them, and the guide if its sources have changed
 * (`guide.mjs`). The compiler comes from `toolchain.mjs`.
 *
 *   node wasm/build.mjs           rebuild wasm/dist
 *   node wasm/build.mjs --check   rebuild elsewhere and compare; exit 1 on a difference, skip on another compiler
 *   node wasm/build.mjs --to DIR  build the core into DIR, for tests of a fresh build (FORETOKEN_WASM=DIR)
 *
 * Why the core is built by cargo alone and not by wasm-pack, which was tried (0.15.1, `build --mode no-install --no-opt`, wasm-bindgen 0.2.130):
 * - one-thread forms: its wasm-bindgen step fails, "failed to find intrinsics to enable `clone_ref` function", for LLVM 22
 *   turns reference types on and the crate has no bindgen runtime. With those features off it passes, but renames the
 *   memory import from `env` to `./foretoken_core_bg.js` and removes the export `__heap_base`, both of which the backend
 *   needs; the glue it writes would go unused.
 * - threaded forms: it fails, "failed to prepare module for threading: failed to find `__wbindgen_malloc`". It wants an
 *   allocator inside, to give threads their stacks; here the caller owns all memory.
 * - it adds 15 s to each clean build and two tools to install (7 minutes of CPU), for a module whose ABI is plain C.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildGuide, checkGuide } from './guide.mjs'
import { standaloneCore } from './standalone.mjs'
import { run, target, toolchain } from './toolchain.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const dist = join(here, 'dist')

const memory = [
  '--import-memory',
  '--max-memory=4294967296',
  '--stack-first',
  '-zstack-size=131072',
  '--export=__heap_base',
]
const shared = ['--shared-memory', '--export=__stack_pointer']

/** Name -> target features, linker arguments, cargo features. */
const forms = {
  simd128: { features: '+simd128', link: memory, cargo: [] },
  relaxed: { features: '+simd128,+relaxed-simd', link: memory, cargo: [] },
  'simd128-threads': { features: '+simd128,+atomics,+bulk-memory', link: [...memory, ...shared], cargo: ['threads'] },
  'relaxed-threads': {
    features: '+simd128,+relaxed-simd,+atomics,+bulk-memory',
    link: [...memory, ...shared],
    cargo: ['threads'],
  },
}

const check = process.argv.includes('--check')
const to = process.argv.includes('--to') ? process.argv[process.argv.indexOf('--to') + 1] : undefined
const tools = toolchain()
const manifest = standaloneCore()
const rustc = run(tools.rustc, ['-vV']).trim()
const recorded = check ? JSON.parse(readFileSync(join(dist, 'build.json'), 'utf8')) : undefined
if (to) {
  mkdirSync(to, { recursive: true })
  buildAll(to)
} else if (recorded && recorded.rustc !== rustc) {
  console.log(`wasm/dist was built by another compiler; not compared.\nrecorded:\n${recorded.rustc}\nhere:\n${rustc}`)
} else if (recorded) {
  const folder = mkdtempSync(join(tmpdir(), 'foretoken-wasm-'))
  const built = buildAll(folder)
  rmSync(folder, { recursive: true })
  const committed = (form) => sha256(readFileSync(join(dist, `${form}.wasm`)))
  const wrong = Object.keys(forms).filter(
    (form) => built[form].sha256 !== recorded.modules[form].sha256 || built[form].sha256 !== committed(form),
  )
  for (const form of wrong)
    console.error(`wasm/dist/${form}.wasm is not what this source builds; run npm run build:wasm`)
  if (wrong.length === 0) console.log(`wasm/dist is what this source builds: ${Object.keys(forms).join(', ')}`)
  if (wrong.length > 0) process.exitCode = 1
} else {
  mkdirSync(dist, { recursive: true })
  const modules = buildAll(dist)
  writeFileSync(join(dist, 'build.json'), `${JSON.stringify({ rustc, modules }, null, 2)}\n`)
  for (const [form, { bytes }] of Object.entries(modules)) console.log(`wasm/dist/${form}.wasm  ${bytes} bytes`)
  buildGuide()
}
if (check && !checkGuide()) process.exitCode = 1

/** Builds every form into `folder`; returns sha256 and size of each. */
function buildAll(folder) {
  return Object.fromEntries(
    Object.keys(forms).map((form) => {
      const bytes = build(form)
      writeFileSync(join(folder, `${form}.wasm`), bytes)
      return [form, { sha256: sha256(bytes), bytes: bytes.length }]
    }),
  )
}

function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex')
}

function build(form) {
  const { features, link, cargo } = forms[form]
  const folder = join(here, 'target', 'dist', form)
  const flags = [
    `-Ctarget-feature=${features}`,
    ...link.map((argument) => `-Clink-arg=${argument}`),
    '-Cstrip=symbols',
    `--remap-path-prefix=${dirname(manifest)}=/foretoken`,
  ]
  // As a cdylib alone: beside an rlib cargo leaves link-time optimisation out, and `core` would come in whole.
  const args = [
    'rustc',
    '--release',
    '--lib',
    '--crate-type',
    'cdylib',
    '--quiet',
    '--target',
    target,
    '--manifest-path',
    manifest,
  ]
  if (cargo.length > 0) args.push('--features', cargo.join())
  run(tools.cargo, args, {
    RUSTC: tools.rustc,
    CARGO_TARGET_DIR: folder,
    CARGO_ENCODED_RUSTFLAGS: flags.join('\x1f'),
    // The threaded forms sleep by memory.atomic.wait32, which stable rustc keeps behind a feature gate.
    ...(cargo.includes('threads') ? { RUSTC_BOOTSTRAP: '1' } : {}),
  })
  return readFileSync(join(folder, target, 'release', 'foretoken_core.wasm'))
}
