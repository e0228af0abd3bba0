/**
 * Builds the grammar engine, wasm/guide, into wasm/dist/guide by wasm-pack, and checks that what lies there belongs to its
 * sources.
 *
 * wasm-pack and wasm-bindgen-cli are needed only to change the crate: the record beside the built files holds a hash of
 * the sources, so that a check without them still notices a change that was not built. They are installed by cargo, in
 * the pinned versions, into ~/.cache/foretoken-wasm-tools (7 minutes of CPU, once).
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { instanceGlue, instanceTypes } from './glue.mjs'
import { run, target, toolchain } from './toolchain.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const dist = join(here, 'dist', 'guide')
const record = join(dist, 'build.json')
const files = ['guide.js', 'guide.d.ts', 'guide.wasm', 'THIRD-PARTY.txt']

const versions = { 'wasm-pack': '0.15.1', 'wasm-bindgen-cli': '0.2.130' }
const toolsFolder = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'foretoken-wasm-tools')

/**
 * Recursion over a schema or grammar is bounded to depths that fit this stack; what runs away meets a memory limit. Seeds
 * of hash tables come from the crate itself (`__getrandom_v03_custom`); cargo links the engine alone, too, which must not
 * fail for want of it. A test holds that the module imports nothing that the glue does not give.
 */
const flags = [
  '-Clink-arg=-zstack-size=4194304',
  '-Clink-arg=--max-memory=268435456',
  '--cfg=getrandom_backend="custom"',
  '-Clink-arg=--allow-undefined',
]

/** Builds wasm/dist/guide unless it belongs to the sources already. */
export function buildGuide() {
  if (existsSync(record) && differences().length === 0) {
    console.log('wasm/dist/guide belongs to its sources')
    return
  }
  installTools()
  const { rustc, built } = build()
  mkdirSync(dist, { recursive: true })
  for (const file of files) writeFileSync(join(dist, file), built[file])
  const sizes = Object.fromEntries(
    files.map((file) => [
      file,
      { sha256: sha256(built[file]), bytes: built[file].length, gzip: gzipSync(built[file], { level: 9 }).length },
    ]),
  )
  writeFileSync(record, `${JSON.stringify({ rustc, tools: versions, sources: sources(), files: sizes }, null, 2)}\n`)
  for (const [file, { bytes, gzip }] of Object.entries(sizes))
    console.log(`wasm/dist/guide/${file}  ${bytes} bytes, ${gzip} gzip`)
}

/** Returns true if the committed files belong to the sources. Where the tools are, they are built again and compared. */
export function checkGuide() {
  const wrong = existsSync(record) ? differences() : ['wasm/dist/guide/build.json is missing']
  for (const fault of wrong) console.error(`${fault}; run npm run build:wasm`)
  if (wrong.length > 0) return false
  if (!Object.keys(versions).every(installed)) {
    console.log('wasm/dist/guide belongs to its sources by their hash (wasm-pack and wasm-bindgen-cli are not here)')
    return true
  }
  const { rustc, built } = build()
  const recorded = JSON.parse(readFileSync(record, 'utf8'))
  if (rustc !== recorded.rustc) {
    console.log('wasm/dist/guide belongs to its sources by their hash (it was built by another compiler)')
    return true
  }
  const changed = files.filter((file) => sha256(built[file]) !== recorded.files[file].sha256)
  for (const file of changed)
    console.error(`wasm/dist/guide/${file} is not what its source builds; run npm run build:wasm`)
  if (changed.length === 0) console.log('wasm/dist/guide is what its source builds')
  return changed.length === 0
}

function differences() {
  const recorded = JSON.parse(readFileSync(record, 'utf8'))
  const found = []
  if (recorded.sources !== sources()) found.push('the sources of wasm/guide are not those of wasm/dist/guide')
  for (const file of files) {
    const path = join(dist, file)
    if (!existsSync(path) || sha256(readFileSync(path)) !== recorded.files[file]?.sha256)
      found.push(`wasm/dist/guide/${file} is not the recorded one`)
  }
  return found
}

/** Returns a hash of all that determines the built files, but for the compiler and the tools. */
export function sources() {
  const crate = join(here, 'guide')
  const paths = [
    join(here, 'Cargo.toml'),
    join(here, 'Cargo.lock'),
    join(crate, 'Cargo.toml'),
    fileURLToPath(import.meta.url),
    join(here, 'glue.mjs'),
  ]
  const rust = readdirSync(join(crate, 'src'), { recursive: true })
    .filter((file) => file.endsWith('.rs'))
    .sort()
  const hash = createHash('sha256')
  for (const path of [...paths, ...rust.map((file) => join(crate, 'src', file))]) {
    const text = readFileSync(path, 'utf8').replaceAll('\r\n', '\n')
    hash.update(`${path.slice(here.length).replaceAll('\\', '/')}\0${text.length}\0${text}`)
  }
  return hash.digest('hex')
}

function installed(tool) {
  try {
    return run(command(tool), ['--version']).trim().endsWith(` ${versions[tool]}`)
  } catch {
    return false
  }
}

function command(tool) {
  return join(toolsFolder, 'bin', tool === 'wasm-bindgen-cli' ? 'wasm-bindgen' : tool)
}

function installTools() {
  for (const [tool, version] of Object.entries(versions)) {
    if (installed(tool)) continue
    console.log(`installing ${tool} ${version} into ${toolsFolder}`)
    // The lock file of wasm-bindgen-cli names crates that not every registry has.
    const locked = tool === 'wasm-pack' ? ['--locked'] : []
    run('cargo', ['install', tool, '--version', version, ...locked, '--root', toolsFolder])
  }
}

/** Returns the compiler and the built files by name. */
function build() {
  const tools = toolchain('std')
  const folder = mkdtempSync(join(tmpdir(), 'foretoken-guide-'))
  const registry = join(process.env.CARGO_HOME ?? join(homedir(), '.cargo'), 'registry', 'src')
  const path = [join(toolsFolder, 'bin'), ...(tools.path ? [tools.path] : []), process.env.PATH].join(delimiter)
  const options = ['--target', 'web', '--mode', 'no-install', '--no-opt', '--no-pack', '--profile', 'guide']
  const out = ['--out-dir', folder, '--out-name', 'guide']
  run(
    command('wasm-pack'),
    ['--log-level', 'warn', 'build', join(here, 'guide'), ...options, ...out, '--', '--locked'],
    {
      PATH: path,
      CARGO_TARGET_DIR: join(here, 'target', 'guide'),
      CARGO_ENCODED_RUSTFLAGS: [
        ...flags,
        '-Cstrip=symbols',
        `--remap-path-prefix=${here}=/foretoken`,
        ...(existsSync(registry) ? readdirSync(registry) : []).map(
          (index) => `--remap-path-prefix=${join(registry, index)}=/crates`,
        ),
      ].join('\x1f'),
    },
  )
  const read = (file) => readFileSync(join(folder, file))
  const built = {
    'guide.js': Buffer.from(instanceGlue(read('guide.js').toString())),
    'guide.d.ts': Buffer.from(instanceTypes(read('guide.d.ts').toString())),
    'guide.wasm': read('guide_bg.wasm'),
    'THIRD-PARTY.txt': Buffer.from(thirdParty()),
  }
  rmSync(folder, { recursive: true })
  return { rustc: run(tools.rustc, ['-vV']).trim(), built }
}

/** Returns the licenses of the crates that are compiled into the module, as they ask to go with it. */
function thirdParty() {
  const filter = ['--format-version', '1', '--locked', '--filter-platform', target]
  const { packages, resolve } = JSON.parse(
    run('cargo', ['metadata', ...filter, '--manifest-path', join(here, 'Cargo.toml')]),
  )
  const byId = new Map(packages.map((crate) => [crate.id, crate]))
  const nodes = new Map(resolve.nodes.map((node) => [node.id, node]))
  const pending = packages.filter(({ name }) => name === 'foretoken-guide').map(({ id }) => id)
  const compiled = new Set()
  while (pending.length > 0) {
    const id = pending.pop()
    if (compiled.has(id) || byId.get(id).targets.some(({ kind }) => kind.includes('proc-macro'))) continue
    compiled.add(id)
    for (const { pkg, dep_kinds: kinds } of nodes.get(id).deps)
      if (kinds.some(({ kind }) => kind === null)) pending.push(pkg)
  }
  const crates = [...compiled].map((id) => byId.get(id)).filter(({ source }) => source !== null)
  crates.sort((a, b) => (a.name < b.name ? -1 : 1))
  const texts = new Map()
  for (const { name, version, license, manifest_path: manifest } of crates) {
    const folder = dirname(manifest)
    const names = readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isFile() && /^(license|copying|notice)/i.test(entry.name))
      .map(({ name }) => name)
      .sort()
    for (const file of names) {
      const text = readFileSync(join(folder, file), 'utf8').trim()
      texts.set(text, [...(texts.get(text) ?? []), `${name} ${version} (${license}, ${file})`])
    }
    if (names.length === 0)
      texts.set(`${license}, without a text of its own`, [
        ...(texts.get(`${license}, without a text of its own`) ?? []),
        `${name} ${version}`,
      ])
  }
  return [...texts].map(([text, users]) => `${users.join('\n')}\n\n${text}\n`).join(`\n${'-'.repeat(80)}\n\n`)
}

function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex')
}
