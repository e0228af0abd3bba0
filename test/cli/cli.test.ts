/** The command as a script meets it: a process, its streams, its exit code. */
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { completion } from '../../cli/completion.ts'
import { type Command, commands, flags } from '../../cli/flags.ts'
import { commandHelp } from '../../cli/help.ts'
import { parse } from '../../cli/parse.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

const main = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
let folder: string
let model: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foretoken-cli-'))
  model = join(folder, 'tiny.gguf')
  await writeFile(model, tinyGguf())
})
afterAll(() => rm(folder, { recursive: true, force: true }))

interface Result {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

function foretoken(args: readonly string[], input = '', onOut?: (kill: (signal: NodeJS.Signals) => void) => void) {
  return new Promise<Result>((resolve) => {
    const env = {
      ...process.env,
      FORETOKEN_HOME: join(folder, 'home'),
      HF_HOME: join(folder, 'hf'),
      HF_ENDPOINT: 'http://127.0.0.1:9',
    }
    const child = spawn(process.execPath, [main, ...args], { env })
    let out = ''
    let err = ''
    child.stdout.on('data', (data) => {
      out += data
      onOut?.((signal) => child.kill(signal))
    })
    child.stderr.on('data', (data) => {
      err += data
    })
    child.on('close', (code) => resolve({ code, out, err }))
    child.stdin.end(input)
  })
}

const run = (...args: string[]) =>
  foretoken(['run', '-m', model, '--threads', '1', '--max-tokens', '4', '--ignore-eos', ...args])

describe('foretoken run', () => {
  test('streams the text to stdout and one line about it to stderr', async () => {
    const { code, out, err } = await run('hello')
    expect(code).toBe(0)
    expect(out.endsWith('\n')).toBe(true)
    expect(err).toMatch(
      /^first token \d+ ms \(load \d+\.\d s\) · \d+ prompt tokens · [\d.]+ tokens\/s · wasm-\w+ · exact\n$/,
    )
    expect(`${out}${err}`).not.toContain('\u001b')
  })

  test('--json prints one object of the fixed shape, and nothing else', async () => {
    const { code, out, err } = await run('--json', '--top-logprobs', '3', 'hello')
    const result = JSON.parse(out)
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(Object.keys(result)).toEqual(
      expect.arrayContaining([
        'model',
        'prompt_ids',
        'ids',
        'text',
        'finish_reason',
        'top_logprobs',
        'timings',
        'memory',
        'build',
      ]),
    )
    expect(Object.keys(result.timings)).toEqual([
      'load_ms',
      'tokenize_ms',
      'prefill_ms',
      'ttft_ms',
      'decode_tokens_per_s',
      'prompt_tokens',
    ])
    expect(result.ids).toHaveLength(4)
    expect(result.top_logprobs).toHaveLength(4)
    expect(result.top_logprobs[0]).toHaveLength(3)
    expect(result.top_logprobs[0][0]).toEqual({ id: result.ids[0], logprob: expect.any(Number) })
    expect(result.memory.wasm_bytes).toBeGreaterThan(1e6)
    expect(result.finish_reason).toBe('length')
  })

  test('a first argument that is no command is a prompt, and so is stdin', async () => {
    const args = ['-m', model, '--max-tokens', '2', '--ignore-eos', '--raw', '--json', '--threads', '1']
    const [asArgument, asInput] = await Promise.all([
      foretoken([...args, 'a prompt']),
      foretoken([...args, '-'], 'a prompt'),
    ])
    expect(JSON.parse(asArgument.out).prompt_ids).toEqual(JSON.parse(asInput.out).prompt_ids)
    expect(JSON.parse(asArgument.out).prompt_ids).toHaveLength(8)
  })

  test('Ctrl-C ends it with 130', async () => {
    let sent = false
    const { code, err } = await foretoken(
      [
        'run',
        '-m',
        model,
        '--threads',
        '1',
        '--max-tokens',
        '240',
        '--ignore-eos',
        '--raw',
        '--repetition-penalty',
        '3',
        'x',
      ],
      '',
      (kill) => {
        if (!sent) kill('SIGINT')
        sent = true
      },
    )
    expect(code).toBe(130)
    expect(err).toContain('interrupted')
  })

  test.each([
    ['an unknown flag, with the nearest one', ['--max-token', '4', 'x'], 2, /--max-tokens/],
    ['a flag without its value', ['--temperature'], 2, /temperature/],
    ['a value of the wrong kind', ['--max-tokens', 'many', 'x'], 2, /max-tokens/],
    ['a value out of range', ['--temperature', '-1', 'x'], 2, /temperature/],
    ['an empty prompt', [''], 1, /empty_prompt/],
    ['a prompt over the context', ['x'.repeat(400)], 1, /context_exceeded/],
    ['more context than there is', ['-c', '100000', 'x'], 1, /bad_argument/],
  ])('%s', async (_, args, code, message) => {
    const result = await run(...args)
    expect(result.code).toBe(code)
    expect(result.err).toMatch(message)
    expect(result.out.trim()).toBe('')
  })

  test('a file that is no model, and --json tells it as JSON', async () => {
    const broken = join(folder, 'broken.gguf')
    await writeFile(broken, tinyGguf().slice(0, 5000))
    const { code, out, err } = await foretoken(['run', '-m', broken, '--json', 'x'])
    expect({ code, out }).toEqual({ code: 1, out: '' })
    expect(JSON.parse(err).error).toMatchObject({ code: 'bad_model', message: expect.stringContaining('5000 bytes') })
  })
})

test('tokenize, inspect, ls and bench print JSON', async () => {
  const text = await foretoken(['tokenize', '-m', model, '--json', 'abc'])
  expect(JSON.parse(text.out).ids).toHaveLength(3)
  const inspected = JSON.parse((await foretoken(['inspect', model, '--json'])).out)
  expect(JSON.stringify(inspected)).toContain('llama')
  expect(JSON.parse((await foretoken(['ls', '--json'])).out)).toEqual({ models: [] })
  const bench = ['bench', 'prefill', '-m', model, '--lengths', '8,16', '--runs', '1', '--threads', '1', '--json']
  const { results } = JSON.parse((await foretoken(bench)).out)
  expect(results.map((row: { tokens: number }) => row.tokens)).toEqual([8, 16])
  for (const name of ['ms', 'tokens_per_s', 'gops', 'peak_gops', 'fraction_of_peak'])
    expect(results[0][name]).toBeGreaterThan(0)
  expect(results[0].samples).toHaveLength(1)
})

describe('the table of flags', () => {
  test.each(Object.keys(commands) as Command[])('help of %s names each of its flags', (command) => {
    const help = commandHelp(command)
    for (const [name, flag] of Object.entries(flags))
      expect(help.includes(`--${name} `) || help.includes(`--${name}\n`), name).toBe(
        (flag.on as readonly string[]).includes(command),
      )
  })

  test.each(['bash', 'zsh', 'fish'])('completion for %s knows every command and flag', (shell) => {
    const script = completion(shell)
    for (const name of [...Object.keys(commands), ...Object.keys(flags)]) expect(script).toContain(name)
  })

  test('parsing', () => {
    expect(parse(['hello', 'world'])).toMatchObject({ command: 'run', operands: ['hello', 'world'] })
    expect(parse(['run', '--top-k=5', '-t', '0.5', '--', '--raw'])).toMatchObject({
      flags: { 'top-k': 5, temperature: 0.5 },
      operands: ['--raw'],
    })
    expect(parse(['bench', 'prefill', '--lengths', '1,2']).flags.lengths).toEqual([1, 2])
    expect(parse(['chat', '--stop', 'a', '--stop', 'b']).flags.stop).toEqual(['a', 'b'])
  })
})
