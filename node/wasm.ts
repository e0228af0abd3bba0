/**
 * Loads the built core from disk. Each build is compiled, or left out if this engine refuses it.
 */
import { readFile } from 'node:fs/promises'
import { pathToFileURL } from 'node:url'
import type { Build, WasmModules } from '../src/index.ts'
import { fileError } from './disk.ts'

/**
 * The folder wasm/dist, seen from the source tree or from a bundle in dist/: both lie one folder
 * below the package. FORETOKEN_WASM names another folder, for testing a fresh build.
 */
export const wasmFolder = process.env.FORETOKEN_WASM
  ? pathToFileURL(`${process.env.FORETOKEN_WASM}/`)
  : new URL('../wasm/dist/', import.meta.url)

/**
 * The modules by form. They are kept for later engines of this process: a new module would begin with
 * code that is compiled fast and runs slowly.
 */
const compiled = new Map<keyof WasmModules, Promise<WebAssembly.Module | undefined>>()

/** Reads and compiles the modules that `build` and `threads` can need. Throws `io`, `not_found`. */
export async function loadWasm(build: Build | 'auto' = 'auto', threads = 1): Promise<WasmModules> {
  const builds: Build[] = build === 'auto' ? ['relaxed', 'simd128'] : [build]
  const forms = builds.map((name) => (threads > 1 ? (`${name}-threads` as const) : name))
  const modules = await Promise.all(forms.map(compileOnce))
  return Object.fromEntries(forms.map((form, n) => [form, modules[n]]).filter(([, module]) => module))
}

function compileOnce(form: keyof WasmModules): Promise<WebAssembly.Module | undefined> {
  const module = compiled.get(form) ?? compile(form)
  compiled.set(form, module)
  // What failed may work the next time.
  module.catch(() => compiled.delete(form))
  return module
}

async function compile(form: keyof WasmModules): Promise<WebAssembly.Module | undefined> {
  const file = new URL(`${form}.wasm`, wasmFolder)
  const bytes = await readFile(file).catch((error) => {
    throw fileError(error, `the core's ${form}.wasm`)
  })
  try {
    return await WebAssembly.compile(bytes)
  } catch {
    // An engine without relaxed SIMD or threads refuses the bytes; it uses the other build.
    return undefined
  }
}
