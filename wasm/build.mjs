/**
 * Builds the four forms of the core into wasm/dist and records what built them.
 *
 *   node wasm/build.mjs           rebuild wasm/dist
 *   node wasm/build.mjs --check   rebuild elsewhere and compare; exit 1 on a difference, skip on another compiler
 *   node wasm/build.mjs --to DIR  build into DIR, for tests of a fresh build (FORETOKEN_WASM=DIR)
 *
 * Toolchain: the active one if it has wasm32-unknown-unknown; else Debian's rustc-web, whose `core` for wasm is built
 * once from its source package into .toolchain/ (about 15 s). rustup is never called: nothing is downloaded by it.
 *
 * Why cargo alone and not wasm-pack, which was tried (0.15.1, `build --mode no-install --no-opt`, wasm-bindgen 0.2.130):
 * - one-thread forms: its wasm-bindgen step fails, "failed to find intrinsics to enable `clone_ref` function", for LLVM 22
 *   turns reference types on and the crate has no bindgen runtime. With those features off it passes, but renames the
 *   memory import from `env` to `./foretoken_core_bg.js` and removes the export `__heap_base`, both of which the backend
 *   needs; the glue it writes would go unused.
 * - threaded forms: it fails, "failed to prepare module for threading: failed to find `__wbindgen_malloc`". It wants an
 *   allocator inside, to give threads their stacks; here the caller owns all memory.
 * - it adds 15 s to each clean build and two tools to install (7 minutes of CPU), for a module whose ABI is plain C.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const dist = join(here, 'dist')
const target = 'wasm32-unknown-unknown'
/** Where Debian's rust-web-src puts the standard library. */
const librarySource = '/usr/lib/rustlib/src/rust/library'

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
  process.exitCode = wrong.length === 0 ? 0 : 1
} else {
  mkdirSync(dist, { recursive: true })
  const modules = buildAll(dist)
  writeFileSync(join(dist, 'build.json'), `${JSON.stringify({ rustc, modules }, null, 2)}\n`)
  for (const [form, { bytes }] of Object.entries(modules)) console.log(`wasm/dist/${form}.wasm  ${bytes} bytes`)
}

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
    `--remap-path-prefix=${here}=/foretoken`,
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
    join(here, 'Cargo.toml'),
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

/** A rustc and a cargo that can build for wasm. */
function toolchain() {
  try {
    const folder = run('rustc', ['--print', 'target-libdir', '--target', target]).trim()
    if (existsSync(folder) && readdirSync(folder).some((file) => file.startsWith('libcore-')))
      return { rustc: 'rustc', cargo: 'cargo' }
  } catch {
    // No rustc at all: Debian's may still be there.
  }
  return debianToolchain()
}

function debianToolchain() {
  const needed = ['/usr/bin/rustc', '/usr/bin/cargo', '/usr/bin/lld-22', join(librarySource, 'core')]
  if (!needed.every((file) => existsSync(file))) {
    const packages = ['rustc-web', 'cargo-web', 'rust-web-src', 'lld-22']
    if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get'))
      throw new Error(
        `no toolchain for ${target}: run "rustup target add ${target}", or apt-get install ${packages.join(' ')}`,
      )
    run('apt-get', ['update', '-q'])
    run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...packages])
  }
  return overlay()
}

/** A sysroot with Debian's compiler and a `core` for wasm, built from Debian's source package. */
function overlay() {
  const version = /^release: (.*)$/m.exec(run('/usr/bin/rustc', ['-vV']))[1]
  const host = /^host: (.*)$/m.exec(run('/usr/bin/rustc', ['-vV']))[1]
  const root = join(here, '..', '.toolchain', `rust-${version}`)
  const wrapper = join(root, 'bin', 'rustc')
  if (existsSync(wrapper)) return { rustc: wrapper, cargo: '/usr/bin/cargo' }
  rmSync(root, { recursive: true, force: true })
  const seed = join(root, 'seed')
  const library = join(root, 'lib', 'rustlib', target, 'lib')
  const hostFolder = join(root, 'lib', 'rustlib', host)
  for (const folder of [join(seed, 'src'), library, join(hostFolder, 'bin'), join(root, 'bin')])
    mkdirSync(folder, { recursive: true })
  writeFileSync(
    join(seed, 'Cargo.toml'),
    '[package]\nname = "seed"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n',
  )
  writeFileSync(join(seed, 'src', 'lib.rs'), '#![no_std]\n')
  // The source package brings the crates that `core` names, so this needs no network.
  const vendored = ['source.crates-io.replace-with="vendored"', `source.vendored.directory="${librarySource}/vendor"`]
  const args = ['build', '--release', '--quiet', '--offline', '--target', target, '-Zbuild-std=core']
  for (const setting of vendored) args.push('--config', setting)
  run('/usr/bin/cargo', [...args, '--manifest-path', join(seed, 'Cargo.toml')], {
    RUSTC: '/usr/bin/rustc',
    RUSTC_BOOTSTRAP: '1',
    CARGO_ENCODED_RUSTFLAGS: '-Cembed-bitcode=yes',
  })
  const built = join(seed, 'target', target, 'release', 'deps')
  for (const file of readdirSync(built))
    if (file.endsWith('.rlib') && !file.startsWith('libseed')) symlinkSync(join(built, file), join(library, file))
  symlinkSync(join('/usr/lib/rustlib', host, 'lib'), join(hostFolder, 'lib'))
  symlinkSync('/usr/bin/lld-22', join(hostFolder, 'bin', 'rust-lld'))
  writeFileSync(wrapper, `#!/bin/sh\nexec /usr/bin/rustc --sysroot '${root}' "$@"\n`, { mode: 0o755 })
  return { rustc: wrapper, cargo: '/usr/bin/cargo' }
}

function run(command, args, env = {}) {
  const { RUSTFLAGS: _, ...inherited } = process.env
  return execFileSync(command, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...inherited, ...env },
  })
}
