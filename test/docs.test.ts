/** Every command in the documentation is one: its flags are known, its script is there, and what can run here runs, on a tiny model. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { helpAskedBy } from '../cli/help-request.ts'
import { type Invocation, parse } from '../cli/parse.ts'
import { loadWasm } from '../node/wasm.ts'
import { Engine } from '../src/index.ts'
import { openModel } from '../src/model/open.ts'
import { writePredictor } from '../src/predict/file.ts'
import { startCli } from './helpers/cli-process.ts'
import { writeOnnxFolder } from './helpers/onnx-folder.ts'
import { tinyFiles, tinyGguf } from './helpers/tiny-model.ts'
import { tinyPredictor } from './helpers/tiny-predictor.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const pages = [
  'README.md',
  'CONTRIBUTING.md',
  'bench/macos.md',
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
]
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }

/** Commands of others, and why nothing of them is checked here. */
const others: readonly (readonly [RegExp, string])[] = [
  [/^(npx wrangler|for file in)/, 'needs an account or a shell loop; test/edge/worker runs the Worker'],
  [/^(npm install|npm ci|pip install)/, 'installs from a registry'],
  [/^node ask\.mjs$/, 'is run by test/docs/package.test.ts'],
  [/^(openssl|curl|git|cd|cargo) /, 'a tool of the system'],
  [/^\.ci\/run$/, 'is what runs this'],
]

interface Written {
  readonly page: string
  readonly line: string
}

const tiny = { layers: 7, context: 2048 }
const folder = mkdtempSync(join(tmpdir(), 'foretoken-docs-'))
beforeAll(async () => {
  writeFileSync(join(folder, 'tiny.gguf'), tinyGguf(tiny))
  const engine = await Engine.load(tinyFiles(tiny), { wasm: await loadWasm('auto', 1) })
  writeFileSync(join(folder, 'tiny.safetensors'), await writePredictor(tinyPredictor(engine.identity)))
  await engine.close()
  await writeOnnxFolder(join(folder, 'exported'), await openModel(tinyFiles(tiny)))
  writeFileSync(join(folder, 'long.txt'), 'A text of some length, read for what it says. '.repeat(12))
  writeFileSync(join(folder, 'leave.txt'), 'Everybody has thirty days of leave in a year, and more after ten years.')
  writeFileSync(join(folder, 'pay.txt'), 'Pay comes on the last day of the month, unless that is a Sunday.')
  writeFileSync(join(folder, 'questions.jsonl'), '{"prompt":"One?"}\n{"prompt":"Two?"}\n')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Lines of the shell's blocks, without comments and variables that are set in front. */
function written(page: string): Written[] {
  const text = readFileSync(join(root, page), 'utf8')
  const blocks = [...text.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block]) => block!.split('\n'))
  const inline = [...text.matchAll(/`(npm (?:start|run) [^`\n]+)`/g)].map(([, line]) => line!)
  return [...blocks, ...inline]
    .map((line) =>
      line
        .replace(/\s+#.*$/, '')
        .replace(/^(?:[A-Z_]+=(?:\$\([^)]*\)|\S*) )+/, '')
        .trim(),
    )
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => ({ page, line }))
}

const all = pages.flatMap(written)
const unique = [...new Map(all.map((one) => [one.line, one])).values()]

/** Words as a shell would cut them. */
function words(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, double, single, plain]) => double ?? single ?? plain!)
}

const ours = (line: string) => (line.startsWith('npm start -- ') ? words(line).slice(3) : undefined)

test('docs/api.md matches the types', async () => {
  const { apiPage } = await import('../scripts/api.mjs')
  expect(readFileSync(join(root, 'docs/api.md'), 'utf8') === apiPage(), 'run npm run docs:api').toBe(true)
})

test('there are commands to check', () => {
  expect(unique.length).toBeGreaterThan(30)
})

test.each(unique)('$page: $line', ({ line }) => {
  const args = ours(line)
  if (args) return void (helpAskedBy(args) ?? parse(args))
  const [, name] = /^npm (?:run )?([\w:-]+)/.exec(line) ?? []
  if (line.startsWith('npm start')) return
  if (name && scripts[name]) return
  const known = others.find(([pattern]) => pattern.test(line))
  expect(known, `nothing knows ${line}: fix it, or say in this test why it can't be checked`).toBeDefined()
})

/** On the tiny model, with its predictor; undefined for what can't run here. */
function tried(args: readonly string[], { command, flags, operands }: Invocation): readonly string[] | undefined {
  const replaced = ['-m', '--model', '--predictor', '--reader']
  const own = args.filter((word, at) => !replaced.includes(args[at - 1]!) && !replaced.includes(word))
  const tiny = join(folder, 'tiny.gguf')
  const onnx = flags.model === 'exported'
  const model = ['-m', onnx ? join(folder, 'exported') : tiny, '--threads', '1']
  const reader = flags.reader === undefined ? [] : ['--reader', tiny]
  const predictor = onnx && !flags.reader ? [] : ['--predictor', join(folder, 'tiny.safetensors'), ...reader]
  // A GPU, or a second model.
  if (flags.backend === 'webgpu' || flags.aux !== undefined) return undefined
  if (command === 'run') return [...own, ...model, ...predictor, ...(flags['max-tokens'] ? [] : ['--max-tokens', '8'])]
  if (command === 'prefix') return [...own, ...model]
  if (command === 'batch') return [...own, ...model, '--max-tokens', '4']
  if (command === 'bench' && operands[0] === 'report') return [...own, '--out', join(folder, 'report.html')]
  if (command === 'bench' && operands[0] === 'prefill') return [...own, ...model, '--runs', '1']
  if (command === 'serve' || command === 'companion')
    return [...own.filter((word, at) => word !== '--host' && own[at - 1] !== '--host'), ...model]
  return undefined
}

const runnable = unique.flatMap(({ page, line }) => {
  const args = ours(line)
  return args && !helpAskedBy(args) && tried(args, parse(args)) ? [{ page, line, args }] : []
})

/** Flags with a value, in place of which a test has its own. */
const places = new Set(['--port', '--host', '--listen'])

describe('run, on a tiny model', () => {
  test('some commands can run', () => expect(runnable.length).toBeGreaterThan(6))

  test.each(runnable)('$line', async ({ args }) => {
    const invocation = parse(args)
    const serving = invocation.command === 'serve' || invocation.command === 'companion'
    const given = tried(args, invocation)!
    // Any port, this machine only.
    const place = invocation.command === 'serve' ? ['--port', '0', '--host', '127.0.0.1'] : ['--listen', '127.0.0.1:0']
    const env = { FORETOKEN_HOME: folder, FORETOKEN_COMPANION_KEY: 'k'.repeat(32) }
    const { child, ended, got, url } = startCli(
      serving ? [...given.filter((_, at) => !places.has(given[at]!) && !places.has(given[at - 1]!)), ...place] : given,
      env,
      invocation.operands[0] === 'report' ? root : folder,
    )
    if (serving) {
      expect(await url()).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
      child.kill('SIGTERM')
    }
    expect(await ended, got.err).toBe(0)
  })
})

describe('the threat model', () => {
  const rows = readFileSync(join(root, 'docs', 'security.md'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('|') && line.split('|').length === 6)
  const tests = rows.flatMap((row) =>
    [
      ...row
        .split('|')
        .at(-2)!
        .matchAll(/`([^`]+)`/g),
    ].map(([, name]) => name!),
  )

  test('names a test in every row that has a cost', () => expect(tests.length).toBeGreaterThan(40))

  test.each([...new Set(tests.filter((name) => !name.startsWith('npm run ')))])('shows %s, which exists', (name) => {
    const file = name.includes('.') ? join(root, name) : join(root, 'test', `${name}.test.ts`)
    expect(existsSync(file), file).toBe(true)
  })
})
