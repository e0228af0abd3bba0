/** The command on a terminal: what a model, a file's name or a message holds is shown there, and comes through a pipe as it is. */
import { spawn, spawnSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { builtCommand } from '../helpers/built-command.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

/** Runs a command with stdout and stderr on a terminal of its own, and prints what came out there. */
const onTerminal = `
import os, pty, subprocess, sys
master, slave = pty.openpty()
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=slave, stderr=slave)
os.close(slave)
try:
    while True:
        sys.stdout.buffer.write(os.read(master, 65536))
except OSError:
    pass
sys.exit(child.wait())
`
const hasPython = spawnSync('python3', ['-c', 'import pty, subprocess']).status === 0
if (!hasPython) console.log('python3 is not here: nothing is run on a terminal')

let folder: string
let model: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'foretoken-terminal-'))
  model = join(folder, 'tiny.gguf')
  writeFileSync(model, tinyGguf())
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function run(terminal: boolean, ...args: string[]): Promise<string> {
  const [command, ...rest] = terminal
    ? ['python3', '-c', onTerminal, process.execPath, builtCommand, ...args]
    : [process.execPath, builtCommand, ...args]
  const env = { ...process.env, NO_COLOR: '1', FORETOKEN_HOME: join(folder, 'home'), HF_HOME: join(folder, 'hf') }
  return new Promise((resolve) => {
    const child = spawn(command!, rest, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    let out = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (out += text))
    child.on('close', () => resolve(out))
  })
}

/** Without what the status line writes over itself with. */
const plain = (text: string) => text.replaceAll('\r\x1b[K', '').replaceAll('\r\n', '\n')
const escapeId = 27
const answer = ['run', '-n', '3', '--raw', '--ignore-eos', '--threads', '1', '--logit-bias', `${escapeId}=100`]

test('an answer with escape sequences passes through a pipe unchanged', async () => {
  expect(await run(false, ...answer, '-m', model, 'hi')).toContain('\x1b\x1b\x1b\n')
})

test.runIf(hasPython)('an answer with escape sequences is escaped on a terminal', async () => {
  const out = plain(await run(true, ...answer, '-m', model, 'hi'))
  expect(out).toContain('\\u001b\\u001b\\u001b\n')
  expect(out).not.toContain('\x1b')
})

test.runIf(hasPython)('file names and messages are escaped, too', async () => {
  const evil = join(folder, 'evil\x1b]0;owned\x07\u202e.gguf')
  copyFileSync(model, evil)
  const outs = await Promise.all([
    run(true, 'inspect', evil),
    run(true, 'inspect', evil, '--json'),
    run(true, 'run', '-m', join(folder, 'none\x9b31m'), 'x'),
    run(true, 'pull', 'hf:\x1b[2J'),
    run(true, 'rm', 'a\x1b[2Jb'),
    run(true, 'run', '--\x1b[2J', 'x'),
    run(true, 'run', '-m', model, '--threads', '1', '-n', '1', '--stop', '\x1b', 'hi'),
  ])
  for (const out of outs) for (const sent of ['\x1b', '\x07', '\x9b', '\u202e']) expect(plain(out)).not.toContain(sent)
  expect(outs[0]).toContain('evil\\u001b]0;owned\\u0007\\u202e.gguf')
  expect(JSON.parse(outs[1]!).model).toBe(evil)
})
