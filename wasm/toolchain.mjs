/**
 * Finds a compiler for wasm32-unknown-unknown: the active toolchain if it has that target; else Debian's rustc-web, whose
 * standard library for wasm is built once from its source package into .toolchain/ (15 s for `core`, 40 s for `std`).
 * rustup is never called, so that nothing is downloaded by it.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const target = 'wasm32-unknown-unknown'

const here = dirname(fileURLToPath(import.meta.url))
/** Where Debian's rust-web-src puts the standard library. */
const librarySource = '/usr/lib/rustlib/src/rust/library'

/**
 * Returns a rustc and a cargo that can build for wasm, as commands, and `path`, a folder that holds both under these
 * names if they are not the active ones. `library` is `core`, or `std` for crates that need it.
 */
export function toolchain(library = 'core') {
  try {
    const folder = run('rustc', ['--print', 'target-libdir', '--target', target]).trim()
    if (existsSync(folder) && readdirSync(folder).some((file) => file.startsWith('libcore-')))
      return { rustc: 'rustc', cargo: 'cargo' }
  } catch {
    // No rustc at all: Debian's may still be there.
  }
  return debianToolchain(library)
}

function debianToolchain(library) {
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
  return overlay(library)
}

/** Makes a sysroot with Debian's compiler and a library for wasm, built from Debian's source package. */
function overlay(library) {
  const version = /^release: (.*)$/m.exec(run('/usr/bin/rustc', ['-vV']))[1]
  const host = /^host: (.*)$/m.exec(run('/usr/bin/rustc', ['-vV']))[1]
  const root = join(here, '..', '.toolchain', library === 'core' ? `rust-${version}` : `rust-${version}-${library}`)
  const wrapper = join(root, 'bin', 'rustc')
  const found = { rustc: wrapper, cargo: '/usr/bin/cargo', path: join(root, 'bin') }
  if (existsSync(wrapper)) return found
  rmSync(root, { recursive: true, force: true })
  const seed = join(root, 'seed')
  const built = join(root, 'lib', 'rustlib', target, 'lib')
  const hostFolder = join(root, 'lib', 'rustlib', host)
  for (const folder of [join(seed, 'src'), built, join(hostFolder, 'bin'), join(root, 'bin')])
    mkdirSync(folder, { recursive: true })
  writeFileSync(
    join(seed, 'Cargo.toml'),
    '[package]\nname = "seed"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n',
  )
  writeFileSync(join(seed, 'src', 'lib.rs'), library === 'core' ? '#![no_std]\n' : '')
  // The source package brings the crates that the library names, so this needs no network.
  const vendored = ['source.crates-io.replace-with="vendored"', `source.vendored.directory="${librarySource}/vendor"`]
  const args = [
    'build',
    '--release',
    '--quiet',
    '--offline',
    '--target',
    target,
    `-Zbuild-std=${library === 'core' ? 'core' : 'std,panic_abort'}`,
  ]
  for (const setting of vendored) args.push('--config', setting)
  run('/usr/bin/cargo', [...args, '--manifest-path', join(seed, 'Cargo.toml')], {
    RUSTC: '/usr/bin/rustc',
    RUSTC_BOOTSTRAP: '1',
    CARGO_ENCODED_RUSTFLAGS: '-Cembed-bitcode=yes',
  })
  const compiled = join(seed, 'target', target, 'release', 'deps')
  for (const file of readdirSync(compiled))
    if (file.endsWith('.rlib') && !file.startsWith('libseed')) symlinkSync(join(compiled, file), join(built, file))
  symlinkSync(join('/usr/lib/rustlib', host, 'lib'), join(hostFolder, 'lib'))
  symlinkSync('/usr/bin/lld-22', join(hostFolder, 'bin', 'rust-lld'))
  symlinkSync('/usr/bin/cargo', join(root, 'bin', 'cargo'))
  writeFileSync(wrapper, `#!/bin/sh\nexec /usr/bin/rustc --sysroot '${root}' "$@"\n`, { mode: 0o755 })
  return found
}

/** Runs a command without RUSTFLAGS of the caller; returns what it printed. */
export function run(command, args, env = {}) {
  const { RUSTFLAGS: _, ...inherited } = process.env
  return execFileSync(command, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...inherited, ...env },
  })
}
