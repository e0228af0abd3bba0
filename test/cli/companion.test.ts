/** `foretoken companion` and `foretoken serve --companion` as processes: a shared key, ways, and a companion that is pulled out. */
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { chatBody } from '../helpers/ask.ts'
import { postChat, startCli } from '../helpers/cli-process.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

const running: ChildProcess[] = []
let folder: string
let model: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'foretoken-companion-'))
  model = join(folder, 'tiny.gguf')
  writeFileSync(model, tinyGguf({ context: 4096 }))
})
afterAll(() => {
  for (const child of running) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

function start(args: readonly string[]) {
  const started = startCli([...args, '-m', model, '--threads', '1'], { FORETOKEN_HOME: folder })
  running.push(started.child)
  return started
}

const long = (seed: number) => `${seed} ${'a prompt of some length, '.repeat(40)}`

const chat = (url: string, body: object) => postChat(url, chatBody(body))

const content = (text: string) =>
  text
    .split('\n')
    .filter((line) => line.startsWith('data: {'))
    .map((line) => JSON.parse(line.slice(6)).choices[0]?.delta?.content ?? '')
    .join('')

test('without a key nothing is started, and the error says how to get one', async () => {
  const { ended, got } = start(['serve', '--port', '0', '--companion', 'http://127.0.0.1:1'])
  expect(await ended).toBe(1)
  expect(got.err).toContain('FORETOKEN_COMPANION_KEY')
})

test.each([
  [['--listen', 'nowhere:99999'], 2, 'HOST:PORT'],
  [['--listen', '127.0.0.1:0', 'operand'], 2, 'no operands'],
  [['--listen', '127.0.0.1:0', '--config', 'CONFIG'], 1, 'edges.0.key'],
] as const)('%j is refused', async (args, code, why) => {
  const config = join(folder, 'config.json')
  writeFileSync(config, JSON.stringify({ edges: [{ id: 'a', key: 'short' }] }))
  const { ended, got } = start(['companion', ...args.map((arg) => (arg === 'CONFIG' ? config : arg))])
  expect(await ended).toBe(code)
  expect(got.err).toContain(why)
  expect(got.err).not.toContain('short"')
})

test('every route over processes; killing the companion costs the client nothing but time', async () => {
  const alone = start(['serve', '--port', '0'])
  const mac = start(['companion', '--listen', '127.0.0.1:0'])
  const macUrl = await mac.url()
  const key = join(folder, 'companion.key')
  expect(readFileSync(key, 'utf8')).toMatch(/^[0-9a-f]{64}\n$/)
  expect(statSync(key).mode & 0o077).toBe(0)

  const edges = await Promise.all(
    (['relay', 'remote', 'race'] as const).map(async (always) => {
      const config = join(folder, `${always}.json`)
      writeFileSync(config, JSON.stringify({ route: { always } }))
      const edge = start(['serve', '--port', '0', '--config', config, '--companion', macUrl])
      return { always, edge, url: await edge.url() }
    }),
  )
  const aloneUrl = await alone.url()
  for (const [at, { always, url }] of edges.entries()) {
    const body = { messages: [{ role: 'user', content: long(at) }], max_tokens: 20 }
    const expected = (await (await chat(aloneUrl, body)).json()).choices[0].message.content
    const answer = await chat(url, body)
    expect(answer.headers.get('x-foretoken-route')).toMatch(
      new RegExp(
        `^${always};companion="127\\.0\\.0\\.1:\\d+";predicted=[\\d.]+;actual=[\\d.]+;local=[\\d.]+(;[a-z]+=[\\d.]+)*$`,
      ),
    )
    expect((await answer.json()).choices[0].message.content).toBe(expected)
  }

  // The plug, in the middle of a relayed answer.
  const relay = edges[0]!
  const body = { messages: [{ role: 'user', content: long(9) }], max_tokens: 600, foretoken: { ignore_eos: true } }
  const expected = (await (await chat(aloneUrl, body)).json()).choices[0].message.content
  const stream = await chat(relay.url, { ...body, stream: true })
  expect(stream.headers.get('x-foretoken-route')).toMatch(/^relay;/)
  mac.child.kill('SIGKILL')
  const text = await stream.text()
  expect(text).toContain('[DONE]')
  expect(content(text)).toBe(expected)

  // Its failure is known now: the next request is made here at once, or tries it once more.
  const next = await chat(relay.url, { messages: [{ role: 'user', content: long(10) }] })
  expect(next.headers.get('x-foretoken-route')).toMatch(/^(local;|relay;.*;fell-back;)/)
  const logged = relay.edge.got.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(logged.map(({ way }) => way)).toEqual(['relay', 'relay', expect.stringMatching(/^(relay|local)$/)])
  expect(logged[1].fell_back).toMatch(/^remote: the companion failed/)
  expect(mac.got.out).toContain('"route":"/v1/relay"')

  for (const { edge } of edges) edge.child.kill('SIGTERM')
  alone.child.kill('SIGTERM')
  expect(await Promise.all([...edges.map(({ edge }) => edge.ended), alone.ended])).toEqual([0, 0, 0, 0])
})
