/** Builds and packs the package, unpacks it into an empty project, and uses it as the documentation says. */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  cpSync,
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
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { tinyGguf } from '../helpers/tiny-model.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const quickstart = readFileSync(join(root, 'docs', 'quickstart.md'), 'utf8')
const folder = mkdtempSync(join(tmpdir(), 'foretoken-package-'))
/** A built clone, and an empty project that has installed what it packs. */
const [clone, project] = [join(folder, 'clone'), join(folder, 'project')]
const installed = join(project, 'node_modules', 'foretoken')
const model = join(folder, 'tiny.gguf')

beforeAll(() => {
  writeFileSync(model, tinyGguf())
  mkdirSync(clone)
  for (const entry of ['package.json', ...manifest.files] as string[]) {
    const top = entry.replace(/\/\*.*$/, '')
    if (top !== 'dist') cpSync(join(root, top), join(clone, top), { recursive: true })
  }
  run(process.execPath, [join(root, 'scripts', 'build.mjs'), '--out', clone], root)
  mkdirSync(project)
  run('npm', ['init', '-y'], project)
  run('npm', ['pack', '--silent', '--pack-destination', folder], clone)
  run('tar', ['xzf', `foretoken-${manifest.version}.tgz`], folder)
  mkdirSync(dirname(installed), { recursive: true })
  cpSync(join(folder, 'package'), installed, { recursive: true })
  // Its dependencies, as npm would have put them there.
  mkdirSync(join(clone, 'node_modules'))
  const names = readdirSync(join(root, 'node_modules')).filter((name) => /^[@a-z]/.test(name))
  for (const name of names)
    for (const place of [join(clone, 'node_modules'), dirname(installed)])
      symlinkSync(join(root, 'node_modules', name), join(place, name))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function run(command: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? ''}${stdout}${stderr}`)
  return stdout
}

/** The program of the quick start, for a model that is here. */
function program(): { name: string; text: string } {
  const [, name] = /Save this as `([\w.]+)`/.exec(quickstart)!
  const [, text] = /```js\n(import [\s\S]*?)```/.exec(quickstart)!
  expect(text).toContain("loadEngine('smollm2-135m')")
  return {
    name: name!,
    text: text!.replace("'smollm2-135m'", JSON.stringify(model)).replace('maxTokens: 64', 'maxTokens: 4'),
  }
}

function writeProgram(place: string): string {
  const { name, text } = program()
  writeFileSync(join(place, name), text)
  return name
}

/** Nodes on this machine that the package allows, the one that runs the tests among them. */
function nodes(): [version: string, path: string][] {
  const paths = (process.env.PATH ?? '').split(delimiter).map((place) => join(place, 'node'))
  const [least, minor] = /(\d+)\.(\d+)/.exec(manifest.engines.node)!.slice(1).map(Number)
  const found = [process.execPath, ...paths].flatMap((path): [string, string][] => {
    const { status, stdout } = spawnSync(path, ['--version'], { encoding: 'utf8' })
    const [major, middle] =
      /v(\d+)\.(\d+)/
        .exec(stdout ?? '')
        ?.slice(1)
        .map(Number) ?? []
    const allowed = status === 0 && (major! > least! || (major === least && middle! >= minor!))
    return allowed ? [[stdout.trim(), path]] : []
  })
  return [...new Map(found)]
}

describe('the program of the quick start', () => {
  test.each(nodes())('runs in a built clone and in an empty project, on Node %s', (_, node) => {
    for (const place of [clone, project]) run(node, [writeProgram(place)], place)
    expect(JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')).type ?? 'commonjs').toBe('commonjs')
  })

  test.each([
    [
      'as the page says, with every check',
      { module: 'nodenext', types: ['node'], exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
    ],
    [
      'for a bundler, without the types of the DOM',
      { module: 'esnext', moduleResolution: 'bundler', types: ['node'], lib: ['es2022'] },
    ],
  ])('compiles in TypeScript %s, its types included', (_, options) => {
    writeFileSync(join(project, 'ask.mts'), program().text)
    const parts = ['', '/node', '/edge', '/companion'].map((part, n) => `export * as part${n} from 'foretoken${part}'`)
    writeFileSync(join(project, 'parts.mts'), parts.join('\n'))
    const compilerOptions = { target: 'es2022', strict: true, noEmit: true, ...options }
    const config = { compilerOptions, files: ['ask.mts', 'parts.mts'] }
    writeFileSync(join(project, 'tsconfig.json'), JSON.stringify(config))
    run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', '.'], project)
  })
})

/** TypeScript and JavaScript blocks of the documentation, each as a module of its own. docs/api.md has declarations. */
function examples(): { place: string; text: string }[] {
  const docs = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
  const pages = ['README.md', 'CONTRIBUTING.md', 'ARCHITECTURE.md', ...docs.map((name) => join('docs', name))]
  const written = pages.filter((page) => page.endsWith('.md') && page !== join('docs', 'api.md'))
  return written.flatMap((page) => {
    const blocks = readFileSync(join(root, page), 'utf8').matchAll(
      /^```(?:[cm]?[jt]sx?|typescript|javascript)\b.*\n([\s\S]*?)^```/gm,
    )
    return [...blocks].map(([, text = ''], index) => ({ place: `${page} ${index + 1}`, text }))
  })
}

test('every example of the documentation compiles against the built package', () => {
  const files = examples().map(({ place, text }) => {
    const name = `${place.replaceAll(/[^a-z0-9]+/gi, '-')}.mts`
    // An example without imports would be a script, which shares its names with the other examples.
    writeFileSync(join(project, name), `${text}\nexport {}\n`)
    return name
  })
  expect(files.length).toBeGreaterThanOrEqual(5)
  const compilerOptions = {
    target: 'es2022',
    module: 'nodenext',
    types: ['node'],
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    noEmit: true,
    // Examples import the types of other packages, which need not compile with every check.
    skipLibCheck: true,
  }
  writeFileSync(join(project, 'tsconfig.examples.json'), JSON.stringify({ compilerOptions, files }))
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  run(process.execPath, [tsc, '-p', 'tsconfig.examples.json'], project)
})

test.each(nodes())('the command runs on Node %s, and prints its version', (_, node) => {
  const cli = join(installed, 'dist', 'cli.js')
  expect(run(node, [cli, 'version'], project)).toBe(`${manifest.version}\n`)
  expect(run(node, [cli, 'help', 'serve'], project)).toContain('--port')
  const args = ['run', '-m', model, '-n', '2', '--ignore-eos', '--threads', '1', '--json', 'hi']
  expect(JSON.parse(run(node, [cli, ...args], project)).ids).toHaveLength(2)
})

test('the oldest Node is the same in package.json and on every page', () => {
  const [, least] = /^>=(\d+\.\d+)$/.exec(manifest.engines.node)!
  expect(quickstart).toContain(`Node ${least} or newer`)
})

test('every file linked from a page of the package is in the package', () => {
  const pages = readdirSync(installed, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.md'))
  expect(pages).toEqual(expect.arrayContaining(['README.md', join('docs', 'quickstart.md'), 'ARCHITECTURE.md']))
  const missing = pages.flatMap((page) => {
    const links = [...readFileSync(join(installed, page), 'utf8').matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map(
      ([, to]) => to!,
    )
    const local = links.filter((to) => !/^[a-z]+:/.test(to))
    return local.filter((to) => !existsSync(join(installed, dirname(page), to))).map((to) => `${page}: ${to}`)
  })
  expect(missing).toEqual([])
})

test('files that the quick starts write into a clone are ignored by git', () => {
  const written = [
    ...quickstart.matchAll(/--out (\w+)/g),
    ...readFileSync(join(root, 'docs', 'onnx.md'), 'utf8').matchAll(/--out (\w+)/g),
  ]
  const folders = [...new Set(['weights', 'exported', ...written.map(([, name]) => name!)])]
  const inGit = spawnSync('git', ['rev-parse'], { cwd: root }).status === 0
  if (!inGit) return console.log('this is no clone: nothing can be ignored')
  for (const name of folders) {
    expect(execFileSync('git', ['check-ignore', `${name}/file`], { cwd: root, encoding: 'utf8' })).toContain(name)
  }
})
