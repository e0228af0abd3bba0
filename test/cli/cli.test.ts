/** The command as a script meets it: a process, its streams, its exit code. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { builtCommand } from '../helpers/built-command.ts'
import { type Kill, runCli } from '../helpers/run-cli.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

let folder: string
let model: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foretoken-cli-'))
  model = join(folder, 'tiny.gguf')
  await writeFile(model, tinyGguf())
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const foretoken = (
  args: readonly string[],
  input = '',
  onOut?: (kill: Kill) => void,
  onStart?: (kill: Kill) => unknown,
) => runCli(folder, args, input, onOut, onStart)

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
      'template_ms',
      'tokenize_ms',
      'queue_ms',
      'cache_ms',
      'prefill_ms',
      'sample_ms',
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

  test('answers in the shape that a flag asks for', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'foretoken-guide-'))
    const file = (name: string, text: string) => writeFile(join(folder, name), text).then(() => join(folder, name))
    const schema = {
      type: 'object',
      properties: { a: { type: 'boolean' } },
      required: ['a'],
      additionalProperties: false,
    }
    const shapes: [string[], RegExp][] = [
      [['--json-schema', await file('schema.json', JSON.stringify(schema))], /^\{\s*"a"\s*:\s*(true|false)\s*\}$/],
      [['--json-schema', 'boolean'], /^(true|false)$/],
      [['--choice', 'yes,no'], /^(yes|no)$/],
      [['--regex', '[0-9]{3}'], /^[0-9]{3}$/],
      [['--grammar', await file('a.gbnf', 'root ::= "a" [b-d] "e"')], /^a[bcd]e$/],
      [['--grammar', await file('a.lark', 'start: "a" /[b-d]/ "e"')], /^a[bcd]e$/],
    ]
    await Promise.all(
      shapes.map(async ([flags, shape]) => {
        const { code, out } = await foretoken([
          '-m',
          model,
          '--threads',
          '1',
          '-n',
          '200',
          '-t',
          '1',
          '--seed',
          '3',
          ...flags,
          'x',
        ])
        expect({ code, out: out.trimEnd() }).toEqual({ code: 0, out: expect.stringMatching(shape) })
      }),
    )
    const bad = await foretoken(['-m', model, '--regex', '(', 'x'])
    expect(bad).toMatchObject({ code: 1, err: expect.stringContaining('regex') })
    await rm(folder, { recursive: true })
  })

  test('a first argument that is not a command is a prompt, and so is stdin', async () => {
    const args = ['-m', model, '--max-tokens', '2', '--ignore-eos', '--raw', '--json', '--threads', '1']
    const [asArgument, asInput] = await Promise.all([
      foretoken([...args, 'a prompt']),
      foretoken([...args, '-'], 'a prompt'),
    ])
    expect(JSON.parse(asArgument.out).prompt_ids).toEqual(JSON.parse(asInput.out).prompt_ids)
    expect(JSON.parse(asArgument.out).prompt_ids).toHaveLength(8)
  })

  test('Ctrl-C ends it with exit code 130', async () => {
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

  test('a file that is not a model is reported, with --json as JSON', async () => {
    const broken = join(folder, 'broken.gguf')
    await writeFile(broken, tinyGguf().slice(0, 5000))
    const { code, out, err } = await foretoken(['run', '-m', broken, '--json', 'x'])
    expect({ code, out }).toEqual({ code: 1, out: '' })
    expect(JSON.parse(err).error).toMatchObject({ code: 'bad_model', message: expect.stringContaining('5000 bytes') })
  })
})

test.skipIf(!existsSync('/dev/full'))('output that does not fit on the disk is reported as a failure', async () => {
  for (const args of [['--help'], ['ls'], ['run', '-m', model, '-n', '2', 'x']]) {
    const full = await open('/dev/full', 'w')
    const env = { ...process.env, FORETOKEN_HOME: join(folder, 'home') }
    const child = spawn(process.execPath, [builtCommand, ...args], { env, stdio: ['ignore', full.fd, 'pipe'] })
    let err = ''
    child.stderr!.on('data', (data) => {
      err += data
    })
    const code = await new Promise((resolve) => child.on('close', resolve))
    await full.close()
    expect({ code, err }).toEqual({ code: 1, err: expect.stringMatching(/stdout.*\(disk_full\)\n$/) })
  }
})

test('inspect counts layers of different shapes separately', async () => {
  const openElm = fileURLToPath(new URL('../vectors/tiny-openelm', import.meta.url))
  const { config, memory } = JSON.parse((await foretoken(['inspect', openElm, '--json'])).out)
  // 1, 2, 1 and 3 KV heads of 16: K and V of 7 heads, 4 bytes each; int8 has a scale with each head.
  expect([config.heads, config.kvHeads, config.perLayer.length]).toEqual([6, 3, 4])
  expect(memory.kv.f32.bytes_per_token).toBe(7 * 2 * 16 * 4)
  expect(memory.kv.int8.bytes_per_token).toBe(7 * 2 * (16 + 4))
  const table = (await foretoken(['inspect', openElm])).out
  expect(table).toMatch(/openelm, 4 layers, 64 wide, 32 to 160 in the MLP/)
  expect(table).toMatch(/2 to 6 of 16, 1 to 3 for keys and values/)
})

test('an unknown key is refused by every command that opens the model, and ignored with --ignore-config', async () => {
  const odd = join(folder, 'odd.gguf')
  await writeFile(odd, tinyGguf({ metadata: { 'llama.new_thing': { u32: 3 } } }))
  const commands = [
    ['inspect', odd],
    ['tokenize', '-m', odd, 'x'],
    ['run', '-m', odd, '-n', '1', '--raw', 'x'],
    ['deploy-prep', '-m', odd, '--out', join(folder, 'odd-deploy'), '--no-predictor'],
  ]
  for (const command of commands) {
    const refused = await foretoken(command)
    expect(refused.code).not.toBe(0)
    expect(refused.err).toMatch(/llama\.new_thing is 3 .*--ignore-config llama\.new_thing/s)
    expect(await foretoken([...command, '--ignore-config', 'llama.new_thing'])).toMatchObject({ code: 0 })
  }
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

describe('foretoken batch', () => {
  test('answers a file, and resumes where it was killed', async () => {
    const [input, output] = [join(folder, 'in.jsonl'), join(folder, 'out.jsonl')]
    const prompts = Array.from({ length: 12 }, (_, i) => JSON.stringify({ prompt: `number ${i}`, max_tokens: 30 }))
    await writeFile(input, `${prompts.join('\n')}\nnonsense\n`)
    const args = ['batch', input, output, '-m', model, '--threads', '1', '--ignore-eos', '--concurrency', '2']
    const lines = async () => (await readFile(output, 'utf8').catch(() => '')).split('\n').slice(0, -1)
    const killed = foretoken(args, '', undefined, async (kill) => {
      while ((await lines()).length < 3) await new Promise((resolve) => setTimeout(resolve, 5))
      kill('SIGKILL')
    })
    expect((await killed).code).toBe(null)
    const { code, out } = await foretoken([...args, '--json'])
    expect(code).toBe(0)
    const counts = JSON.parse(out)
    expect(counts.resumed).toBeGreaterThanOrEqual(3)
    expect(counts.resumed + counts.answered + counts.errors).toBe(13)
    const answers = (await lines()).map((line) => JSON.parse(line))
    expect(answers.map(({ line }) => line).sort((a, b) => a - b)).toEqual(Array.from({ length: 13 }, (_, i) => i + 1))
    expect(answers.filter(({ error }) => error).map(({ line }) => line)).toEqual([13])
  })

  test('reads stdin, and reports an interruption by Ctrl-C', async () => {
    const output = join(folder, 'stdin-out.jsonl')
    const line = JSON.stringify({ prompt: 'hi', max_tokens: 3 })
    const { code, err } = await foretoken(['batch', '-', output, '-m', model], `${line}\n`)
    expect(code).toBe(0)
    expect(err).toMatch(/stdin-out.jsonl: 1 answered, 0 errors/)
    const many = Array.from({ length: 200 }, () => JSON.stringify({ prompt: 'hi', max_tokens: 200 })).join('\n')
    const stoppedOut = join(folder, 'stopped.jsonl')
    const stopped = await foretoken(['batch', '-', stoppedOut, '-m', model], many, undefined, async (kill) => {
      // The command listens for signals before it opens its output.
      while (!existsSync(stoppedOut)) await new Promise((resolve) => setTimeout(resolve, 5))
      kill('SIGINT')
    })
    expect(stopped).toMatchObject({ code: 130, err: expect.stringContaining('interrupted') })
  })

  test.each<[string, string[], number, RegExp]>([
    ['no output', ['in'], 2, /an input and an output/],
    ['no such input', ['none.jsonl', 'out'], 1, /not_found/],
    ['one file', ['same', 'same'], 2, /the same file/],
    ['a place that is not there', ['same', 'no/where'], 1, /not_found/],
  ])('with %s reports the error', async (_, files, exit, message) => {
    await writeFile(join(folder, 'same'), '')
    const { code, err } = await foretoken(['batch', ...files.map((name) => join(folder, name)), '-m', model])
    expect(code).toBe(exit)
    expect(err).toMatch(message)
  })

  test('two runs do not write one output', async () => {
    const [input, output] = [join(folder, 'two.jsonl'), join(folder, 'two-out.jsonl')]
    await writeFile(input, `${JSON.stringify({ prompt: 'hi' })}\n`)
    await writeFile(`${output}.lock`, String(process.pid))
    const { code, err } = await foretoken(['batch', input, output, '-m', model])
    expect({ code, err }).toEqual({ code: 1, err: expect.stringContaining('(busy)') })
  })
})

describe('foretoken prefix', () => {
  test('saves a system prompt that run then finds', async () => {
    const file = join(folder, 'system.ft')
    const system = 'You speak of rivers, mills and harbours only.'
    const common = ['-m', model, '--threads', '1', '--context', '200']
    const saved = await foretoken(['prefix', 'save', file, '--system', system, '--json', ...common])
    expect(saved.code).toBe(0)
    const { tokens } = JSON.parse(saved.out)
    expect(tokens).toBeGreaterThanOrEqual(48)
    expect((await foretoken(['prefix', 'load', file, ...common])).err).toContain(`${tokens} tokens`)
    const args = ['run', '--system', system, '--prefix', file, '-n', '3', ...common, 'where?']
    expect((await foretoken(args)).err).toContain(`(${tokens} cached)`)
  })

  test('saves texts that run then places, and takes several files', async () => {
    const texts = ['mill', 'harbour'].map((name) => join(folder, `${name}.txt`))
    await writeFile(texts[0]!, 'The mill at the river was built in 1846 and burnt down twice.\n')
    await writeFile(texts[1]!, 'A harbour needs a wall, a light and a pilot; this one has a dog.\n')
    const [chunks, opening] = [join(folder, 'docs.chunks'), join(folder, 'opening.ft')]
    const common = ['-m', model, '--threads', '1', '--context', '256']
    const saved = await foretoken(['prefix', 'save', '--chunks', chunks, ...texts, '--json', ...common])
    expect({ code: saved.code, err: saved.err }).toEqual({ code: 0, err: '' })
    expect(JSON.parse(saved.out)).toMatchObject({ file: chunks, chunks: 2, tokens: 125 })
    expect((await foretoken(['prefix', 'load', chunks, ...common])).err).toContain('2 chunks, 125 tokens')
    const system = 'You speak of rivers, mills and harbours only.'
    expect((await foretoken(['prefix', 'save', opening, '--system', system, ...common])).code).toBe(0)
    const files = ['--prefix', chunks, '--prefix', opening]
    const run = ['run', '--system', system, ...files, '--chunk', texts[1]!, '--chunk', texts[0]!, '-n', '3', 'where?']
    const { out, err } = await foretoken([...run, ...common])
    expect(err).toMatch(/\(48 cached, 109 placed\).*refined, (verified|corrected)/)
    const exact = await foretoken([...run, '--prefill', 'exact', ...common])
    expect(exact.err).not.toContain('placed')
    expect(out).toBe(exact.out)
    const unknown = await foretoken(['run', '--chunk', texts[0]!, '-n', '1', '--json', 'where?', ...common])
    expect(JSON.parse(unknown.out)).toMatchObject({ prefill: 'exact', verified: true })

    // A text is never replaced where the file to write was forgotten.
    const forgotten = await foretoken(['prefix', 'save', '--chunks', ...texts, ...common])
    expect(forgotten).toMatchObject({
      code: 2,
      err: expect.stringContaining('name the file to write before the texts'),
    })
    expect(await readFile(texts[0]!, 'utf8')).toContain('mill')
    for (const args of [
      ['prefix', 'save', '--chunks', chunks],
      ['prefix', 'load', '--chunks', chunks],
      ['run', '--raw', '--chunk', texts[0]!, 'x'],
    ])
      expect((await foretoken([...args, ...common])).code).toBe(2)
    expect((await foretoken(['serve', '--prefix', opening, '--port', '0', ...common])).err).toContain(
      'prefix save --chunks',
    )
  })

  test('chat puts them before its first question', async () => {
    const text = join(folder, 'first.txt')
    await writeFile(text, 'Bridges are named after those who paid for them.')
    const args = ['chat', '-m', model, '--threads', '1', '--context', '256', '-n', '2', '--chunk', text]
    const { err } = await foretoken(args, 'who?\nand then?\n')
    const [, first, second] = /(\d+) prompt tokens[\s\S]* (\d+) prompt tokens/.exec(err)!
    // The text is there once, and the second turn finds it in the prefix cache.
    expect(Number(first)).toBeGreaterThan(50)
    expect(Number(second)).toBeLessThan(Number(first) + 60)
    expect(err).toMatch(/\(\d+ cached/)
  })

  test('refuses invalid arguments', async () => {
    const file = join(folder, 'bad.ft')
    await writeFile(file, 'no prefix')
    const refused = async (...args: string[]) => (await foretoken([...args, '-m', model])).err
    expect(await refused('prefix', 'load', file)).toContain('bad_prefix')
    expect(await refused('run', '--prefix', file, 'hi')).toContain('bad_prefix')
    expect(await refused('prefix', 'load', join(folder, 'none.ft'))).toContain('not_found')
    expect(await refused('prefix', 'save', join(folder, 'no', 'x.ft'), '--system', 'x'.repeat(40))).toContain(
      'not_found',
    )
    expect(await refused('prefix', 'save', file, '--system', 'x', '--prompt-file', file)).toContain(
      'needs either --system',
    )
    expect(await refused('prefix', 'keep', file)).toContain('or load FILE')
    expect((await readFile(file, 'utf8')).length).toBe(9)
  })
})
