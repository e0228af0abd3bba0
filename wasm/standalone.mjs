/**
 * Lays out the core as a package outside of the workspace, in wasm/target/core, and prints the path of its manifest.
 *
 * Cargo resolves a workspace as a whole, so that a member without dependencies needs the registry's index for those of
 * the others. The core has none: this way it is built, tested and checked without a network, and its bytes depend on
 * nothing but itself.
 */
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))

/** Returns the path of the manifest. */
export function standaloneCore() {
  const root = join(here, 'target', 'core')
  mkdirSync(root, { recursive: true })
  for (const folder of ['src', 'tests', 'fuzz'])
    if (!existsSync(join(root, folder))) symlinkSync(join(here, 'core', folder), join(root, folder), 'junction')
  const profiles = readFileSync(join(here, 'Cargo.toml'), 'utf8')
    .split(/^(?=\[)/m)
    .filter((section) => section.startsWith('[profile.'))
  const manifest = join(root, 'Cargo.toml')
  const parts = [readFileSync(join(here, 'core', 'Cargo.toml'), 'utf8'), ...profiles, '[workspace]\n']
  writeFileSync(manifest, parts.map((part) => part.trim()).join('\n\n'))
  return manifest
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(standaloneCore())
