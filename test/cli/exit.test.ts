/** How the command ends, as a shell sees it: exit codes by what happened, and what stays on its streams. */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { exitCodes } from '../../cli/exit.ts'
import { generalHelp } from '../../cli/help.ts'
import { builtCommand } from '../helpers/built-command.ts'
import { startCli } from '../helpers/cli-process.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

let folder: string
let model: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'foretoken-exit-'))
  model = join(folder, 'tiny.gguf')
  writeFileSync(model, tinyGguf())
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const env = () => ({ ...process.env, FORETOKEN_HOME: join(folder, 'home'), HF_ENDPOINT: 'http://127.0.0.1:9' })

function foretoken(args: readonly string[], input: string | Uint8Array = '', cwd = folder) {
  return new Promise<{ code: number | null; out: string; err: string }>((resolve) => {
    const child = spawn(process.execPath, [builtCommand, ...args], { env: env(), cwd })
    const got = { out: '', err: '' }
    child.stdout.on('data', (text) => (got.out += text))
    child.stderr.on('data', (text) => (got.err += text))
    child.on('close', (code) => resolve({ code, ...got }))
    child.stdin.on('error', () => {})
    child.stdin.end(input)
  })
}

const small = () => ['-m', model, '--threads', '1', '-n', '2', '--ignore-eos']

describe('the exit code', () => {
  test('is listed by the help and by docs/cli.md, each code once', () => {
    const help = generalHelp('1.0.0')
    const page = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8')
    for (const { code, brief, about } of Object.values(exitCodes)) {
      expect(help).toContain(`${code} ${brief}`)
      expect(page).toContain(`| ${code} | ${about} |`)
    }
    expect(page.match(/^\| \d+ \| /gm)).toHaveLength(Object.keys(exitCodes).length)
  })

  test.each([
    ['an answer', () => ['run', ...small(), 'x'], exitCodes.done],
    ['help', () => ['serve', '--port', 'x', '--help'], exitCodes.done],
    ['the version', () => ['version'], exitCodes.done],
    ['a model that is not there', () => ['run', '-m', 'none', 'x'], exitCodes.failed],
    ['a prompt file that is not there', () => ['run', ...small(), '@none.txt'], exitCodes.failed],
    ['an unknown flag', () => ['run', '--nonsense', 'x'], exitCodes.usage],
    ['a flag in place of a value', () => ['run', '-m', '--json', 'hi'], exitCodes.usage],
    ['a mistyped command', () => ['hlep'], exitCodes.usage],
    ['stdin that is asked for twice', () => ['run', '--system', '@-', '-'], exitCodes.usage],
  ])('of %s', async (_, args, { code }) => expect((await foretoken(args())).code).toBe(code))

  test.each([
    ['SIGINT', exitCodes.interrupted],
    ['SIGTERM', exitCodes.terminated],
    ['SIGHUP', exitCodes.hangup],
  ] as const)('of an answer ended by %s', async (signal, { code }) => {
    const { child, ended, got } = startCli(
      ['run', '-m', model, '--threads', '1', '-n', '240', '--ignore-eos', '--raw', '--repetition-penalty', '3', 'x'],
      env(),
    )
    child.stdout.once('data', () => child.kill(signal))
    expect(await ended).toBe(code)
    expect(got.err).toContain('interrupted')
  })

  test.each(['SIGINT', 'SIGTERM'] as const)('of a server ended by %s is 0: it finishes requests', async (signal) => {
    const { child, ended, url } = startCli(['serve', '-m', model, '--threads', '1', '--port', '0'], env())
    await url()
    child.kill(signal)
    expect(await ended).toBe(0)
  })

  test.skipIf(process.platform === 'win32')(
    'of a command whose reader closes the pipe is 0, without a message',
    async () => {
      const batch = join(folder, 'many.jsonl')
      writeFileSync(batch, `${JSON.stringify({ prompt: 'x', max_tokens: 2 })}\n`.repeat(3000))
      const lines = [
        '"$NODE" "$CLI" --help | head -1',
        '"$NODE" "$CLI" help bench | head -1',
        '"$NODE" "$CLI" run -m "$MODEL" --threads 1 -n 240 --ignore-eos --raw --repetition-penalty 3 x | head -c 1',
        `"$NODE" "$CLI" batch "${batch}" - -m "$MODEL" --threads 1 | head -1`,
        '"$NODE" "$CLI" doctor --offline | head -1',
      ]
      for (const line of lines) {
        const child = spawn('bash', ['-c', `${line} >/dev/null; echo "\${PIPESTATUS[0]}"`], {
          env: { ...env(), NODE: process.execPath, CLI: builtCommand, MODEL: model },
          stdio: ['ignore', 'pipe', 'pipe'],
        })
        let [out, err] = ['', '']
        child.stdout.on('data', (text) => (out += text))
        child.stderr.on('data', (text) => (err += text))
        await new Promise((resolve) => child.on('close', resolve))
        // The summary of an answer or of a doctor that ended before its reader did is not an error
        // message.
        const code = line.includes('doctor') ? expect.stringMatching(/^[01]\n$/) : '0\n'
        expect({ line, out, err: err.replace(/^first token .*\n/, '') }).toEqual({ line, out: code, err: '' })
      }
    },
  )
})

describe('a mistyped word', () => {
  test('is not sent to the model', async () => {
    expect(await foretoken(['hlep'])).toEqual({
      code: 2,
      out: '',
      err: 'foretoken: no command `hlep`; did you mean `help`? To send it as a prompt: `foretoken run hlep`\n',
    })
    expect((await foretoken(['run', 'hlep', ...small()])).code).toBe(0)
  })

  test('in place of a value is refused with the escaped form', async () => {
    expect((await foretoken(['run', '-m', '--json', 'hi'])).err).toContain(
      '`--model` needs a value; `--json` looks like a flag; write `--model=--json` if you mean it',
    )
  })

  test('`version` prints the version, as JSON if requested', async () => {
    expect(JSON.parse((await foretoken(['version', '--json'])).out)).toEqual({ version: expect.stringMatching(/^\d/) })
  })
})

describe('"-" is a stream', () => {
  const input = `${JSON.stringify({ prompt: 'one', max_tokens: 2 })}\n${JSON.stringify({ prompt: 'two', max_tokens: 2 })}\n`

  test('for both files of a batch, and creates no file of that name', async () => {
    const { code, out, err } = await foretoken(['batch', '-', '-', '-m', model, '--threads', '1'], input)
    expect({ code, err }).toEqual({ code: 0, err: expect.stringMatching(/^stdout: 2 answered, 0 errors/) })
    expect(
      out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).line)
        .sort(),
    ).toEqual([1, 2])
    writeFileSync(join(folder, 'in.jsonl'), input)
    expect((await foretoken(['batch', 'in.jsonl', '-', '-m', model, '--threads', '1'])).out.split('\n')).toHaveLength(3)
    expect((await foretoken(['batch', 'none.jsonl', '-', '-m', model])).err).toContain('not_found')
    expect(readdirSync(folder).filter((name) => name.startsWith('-'))).toEqual([])
  })

  test('for a prefix that is saved and used', async () => {
    const common = ['-m', model, '--threads', '1', '--context', '200']
    const system = 'You speak of rivers, mills and harbours only.'
    const saved = await new Promise<{ bytes: Buffer; err: string }>((resolve) => {
      const child = spawn(process.execPath, [builtCommand, 'prefix', 'save', '-', '--system', system, ...common], {
        env: env(),
      })
      const parts: Buffer[] = []
      let err = ''
      child.stdout.on('data', (part) => parts.push(part))
      child.stderr.on('data', (text) => (err += text))
      child.on('close', () => resolve({ bytes: Buffer.concat(parts), err }))
    })
    expect(saved.err).toMatch(/^stdout: \d+ tokens of .*\n$/)
    const [, tokens] = /: (\d+) tokens/.exec(saved.err)!
    expect((await foretoken(['prefix', 'load', '-', ...common], saved.bytes)).err).toContain(`stdin: ${tokens} tokens`)
    const used = await foretoken(
      ['run', '--prefix', '-', '--system', system, '-n', '3', ...common, 'where?'],
      saved.bytes,
    )
    expect(used.err).toContain(`(${tokens} cached)`)
    expect(existsSync(join(folder, '-'))).toBe(false)
  })

  test('for a report, a chart and a data set', async () => {
    const records = fileURLToPath(new URL('../../bench/record', import.meta.url))
    const report = await foretoken(['bench', 'report', records, '--out', '-'])
    expect(report.out).toMatch(/^<!doctype html>/i)
    expect(report.out.trimEnd().endsWith('</html>')).toBe(true)
    const rows = ['short one', 'another one', 'and a third'].map((prompt) => JSON.stringify({ prompt })).join('\n')
    const args = ['--dataset', '-', '--batch', '3', '--runs', '1', '--draws', '1', '--plot', '-']
    const chart = await foretoken(['bench', 'prepack', '-m', model, ...args], rows)
    expect(chart.out).toMatch(/^<svg [\s\S]*<\/svg>\n$/)
    expect(chart.err).toContain('packed')
    const trace = [0, 1000].map((timestamp) =>
      JSON.stringify({ timestamp, input_length: 800, output_length: 20, hash_ids: [1, 2] }),
    )
    const replay = [
      'bench',
      'replay',
      '-',
      '-m',
      model,
      '--threads',
      '1',
      '--scale',
      '0.0625',
      '--rate',
      '20',
      '--json',
    ]
    const { results } = JSON.parse((await foretoken(replay, trace.join('\n'))).out)
    for (const result of Object.values(results)) expect(result).toMatchObject({ requests: 2, failed: 0 })
    expect(readdirSync(folder).filter((name) => name.startsWith('-'))).toEqual([])
  })
})

test('a prompt is read from a file, and from two with words between', async () => {
  writeFileSync(join(folder, 'notes.txt'), Buffer.from('\ufeffa prompt\r\n', 'utf16le'))
  const ids = async (...args: string[]) =>
    JSON.parse((await foretoken(['run', ...small(), '--raw', '--json', ...args])).out).prompt_ids
  const expected = await ids('a prompt')
  expect(await ids('@notes.txt')).toEqual(expected)
  expect(await ids('-p', '@notes.txt')).toEqual(expected)
  expect(await ids('--prompt', 'a prompt')).toEqual(expected)
  const piped = await foretoken(['run', ...small(), '--raw', '--json'], '@notes.txt')
  expect(await ids('@@notes.txt')).toEqual(JSON.parse(piped.out).prompt_ids)
  const tokens = await foretoken(['tokenize', '-m', model, '--json', '@notes.txt'])
  expect(JSON.parse(tokens.out).ids).toEqual(expected)
  expect((await foretoken(['run', ...small(), '@none.txt'])).err).toContain(
    'none.txt: no such file or folder; to begin a text with @, write @@ (not_found)',
  )
  expect((await foretoken(['run', ...small(), `@${model}`])).err).toMatch(/bad_argument/)
  expect((await foretoken(['chat', '-m', model, '--system', '@none.txt'])).err).toContain('not_found')
})
