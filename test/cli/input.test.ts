/** Runs the command as a process with texts on stdin, in files and in configs, and with pulls. */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { filesFolder } from '../../node/store.ts'
import { builtCommand } from '../helpers/built-command.ts'
import { fileServer } from '../helpers/file-server.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

const bytes = tinyGguf()
let folder: string
let model: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'foretoken-input-'))
  model = join(folder, 'tiny.gguf')
  writeFileSync(model, bytes)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const home = () => join(folder, 'home')

function foretoken(args: readonly string[], input: string | Uint8Array = '') {
  return new Promise<{ code: number | null; out: string; err: string }>((resolve) => {
    const env = { ...process.env, FORETOKEN_HOME: home(), HF_HOME: join(folder, 'hf'), HTTP_PROXY: '', http_proxy: '' }
    const child = spawn(process.execPath, [builtCommand, ...args], { env })
    const got = { out: '', err: '' }
    child.stdout.on('data', (text) => (got.out += text))
    child.stderr.on('data', (text) => (got.err += text))
    child.on('close', (code) => resolve({ code, ...got }))
    child.stdin.on('error', () => {})
    child.stdin.end(input)
  })
}

const utf16 = (text: string) => Buffer.from(`\ufeff${text}`, 'utf16le')
const one = ['--threads', '1', '-n', '1', '--raw', '--ignore-eos', '--json']
const ids = async (args: readonly string[], input?: string | Uint8Array) =>
  JSON.parse((await foretoken(['run', '-m', model, ...one, ...args], input)).out).prompt_ids

describe('a prompt', () => {
  test('is the same as an argument, by stdin and by file, in UTF-8 and UTF-16', async () => {
    const path = join(folder, 'prompt.txt')
    writeFileSync(path, utf16('hé\n'))
    const all = await Promise.all([
      ids(['hé']),
      ids([], 'hé\n'),
      ids([], '\ufeffhé'),
      ids([], utf16('hé\r\n')),
      ids(['--prompt-file', path]),
      ids(['--prompt-file', '-'], 'hé\n'),
    ])
    for (const one of all) expect(one).toEqual(all[0])
    const tokens = await foretoken(['tokenize', '-m', model, '--json'], utf16('hé\n'))
    expect(JSON.parse(tokens.out).ids).toEqual(all[0])
  })

  test.each([
    ['run', [...one]],
    ['chat', ['--threads', '1', '-n', '1']],
    ['tokenize', []],
  ] as const)('in Latin-1 is refused by %s', async (command, args) => {
    const { code, err } = await foretoken([command, '-m', model, ...args], Buffer.from('h\xe9llo\n', 'latin1'))
    expect({ code, err }).toEqual({ code: 1, err: expect.stringMatching(/stdin is not UTF-8/) })
  })

  test('in UTF-16 begins a chat', async () => {
    const { code, err } = await foretoken(['chat', '-m', model, '--threads', '1', '-n', '1'], utf16('hi\n/exit\n'))
    expect({ code, err }).toEqual({ code: 0, err: expect.stringMatching(/^first token/) })
  })
})

test('a config with a byte order mark is accepted', async () => {
  const path = join(folder, 'config.json')
  writeFileSync(path, '\ufeff{"limits": {"choices": "many"}}')
  const { err } = await foretoken(['serve', '-m', model, '--config', path])
  expect(err).toMatch(/limits\.choices/)
})

test('help, the version, and a mistyped command load no model', async () => {
  const [help, version, typo] = await Promise.all([
    foretoken(['help', 'serve']),
    foretoken(['version']),
    foretoken(['serv', '-m', 'none']),
  ])
  expect(help.out).toContain('foretoken serve:')
  expect(version.out).toMatch(/^\d+\.\d+\.\d+\n$/)
  expect(typo).toMatchObject({ code: 2, err: expect.stringContaining('did you mean `serve`?') })
})

describe('foretoken pull', () => {
  test('says what it waits for, downloads the file, lists it and removes it', async () => {
    const server = await fileServer([bytes], [{ etag: 'none' }])
    const target = join(home(), 'files', basename(filesFolder(server.url)), 'm.gguf')
    mkdirSync(join(target, '..'), { recursive: true })
    writeFileSync(`${target}.lock`, JSON.stringify({ pid: 1, space: 'another machine', started: '', token: 'x' }))
    const pulled = await foretoken(['pull', server.url])
    expect(pulled).toMatchObject({ code: 0, out: expect.stringContaining(target) })
    expect(pulled.err).toContain('waiting for process 1, which fetches it')
    expect((await foretoken(['ls'])).out).toContain(server.url)
    const outside = join(folder, 'outside.gguf')
    writeFileSync(outside, 'mine')
    expect((await foretoken(['rm', server.url])).out).toMatch(/removed .* freed/)
    expect(existsSync(target)).toBe(false)
    expect(existsSync(outside)).toBe(true)
    await server.close()
  })

  test('of an endless file stops at its limit, and leaves nothing', async () => {
    const server = await fileServer([bytes], [{ length: 'chunked', endless: true }])
    const { code, err } = await foretoken(['pull', server.url, '--max-download', '0.002'])
    expect({ code, err }).toEqual({ code: 1, err: expect.stringMatching(/more than the 2\.0 MB .*--max-download/) })
    expect((await foretoken(['ls', '--json'])).out).toBe('{"models":[]}\n')
    await server.close()
  })
})
