/** A chat whose answers have a shape, and one with tools, as a pipe drives it; bad shapes of `run`. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCli } from '../helpers/run-cli.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

let folder: string
let model: string
let schema: string
let notJson: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'foretoken-chat-'))
  model = join(folder, 'tiny.gguf')
  writeFileSync(model, tinyGguf({ context: 4096 }))
  schema = join(folder, 'a schema.json')
  writeFileSync(
    schema,
    '{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": false}',
  )
  notJson = join(folder, 'bad.json')
  writeFileSync(notJson, '{"type": ')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** `-t 1` keeps the random model from repeating itself. */
const flags = () => ['-m', model, '--threads', '1', '-n', '300', '-t', '1', '--seed', '3']
const chat = (lines: readonly string[], ...more: string[]) =>
  runCli(folder, ['chat', ...flags(), ...more], lines.map((line) => `${line}\n`).join(''))

describe('foretoken chat', () => {
  test('answers in the shape of `/schema` until it is off', async () => {
    const lines = ['/schema boolean', 'Is it?', `/schema ${schema}`, 'And this?', '/schema off', '/schema']
    const { code, out, err } = await chat(lines)
    expect(code).toBe(0)
    const [first, rest] = [out.slice(0, out.indexOf('\n')), out.slice(out.indexOf('\n'))]
    expect(['true', 'false']).toContain(first)
    expect(typeof JSON.parse(rest).a).toBe('boolean')
    expect(err).toMatch(/answers are text\nanswers are text; \/schema takes a file, a type such as object, or off\n$/)
  })

  test('begins with the shape of a flag', async () => {
    const { code, out } = await chat(['Which?'], '--choice', 'yes,no')
    expect({ code, out }).toEqual({ code: 0, out: expect.stringMatching(/^(yes|no)\n$/) })
  })

  test('calls a tool, and goes on with its result', async () => {
    const { code, err } = await chat(['How much?'], '--tools', '--tool-choice', 'required')
    expect(code).toBe(0)
    // The call is one line, its result another; then the model answers.
    expect(err).toMatch(/\n(calculator \{"expression": "[^\n]*"\}|clock \{[^\n]*\})\n= [^\n]+\nfirst token/)
  })

  test('has tools on command, and says that the model was not taught to call them', async () => {
    const { code, err } = await chat(['/tools', '/tools required', 'How much?', '/tools off', '/tools none'])
    expect(code).toBe(0)
    expect(err).toContain('/tools required makes it call one')
    expect(err).toMatch(/\n= [^\n]+\n/)
    expect(err).toMatch(/no tools\n\/tools takes auto, required or off, not "none"\n$/)
  })

  test('keeps its settings when a command fails, and says what is wrong', async () => {
    const bad = ['nothing.json', notJson, '{"type": "strin"}', '{"type":', '-']
    const { code, out, err } = await chat(['/schema boolean', ...bad.map((one) => `/schema ${one}`), 'Is it?'])
    expect({ code, out }).toEqual({ code: 0, out: expect.stringMatching(/^(true|false)\n$/) })
    for (const told of [
      /nothing\.json: no such file.*a schema is a file, JSON that begins with \{, or a type: object/,
      /bad\.json is not JSON: /,
      /the guide \(json_schema\) at \/type: /,
      /the schema is not JSON: /,
      /\/schema can’t read stdin/,
    ])
      expect(err).toMatch(told)
  })

  test('lists its commands', async () => {
    const { err } = await chat(['/help', '/nothing'])
    for (const command of ['/clear', '/schema', '/tools', '/exit']) expect(err).toContain(`\n${command}`.trim())
    expect(err).toContain('unknown command /nothing; /help lists the commands')
  })

  test.each([
    [['--tool-choice', 'auto'], 2, /--tool-choice needs --tools/],
    [['--json-schema', '{"type": "strin"}'], 1, /at \/type: /],
    [['--json-schema', 'object', '--regex', 'a'], 2, /--json-schema and --regex both/],
    [['--json-schema', '-'], 2, /--json-schema and the chat would share it/],
  ] as const)('with %j ends at once', async (more, code, why) => {
    expect(await chat(['Hello'], ...more)).toMatchObject({ code, out: '', err: expect.stringMatching(why) })
  })
})

test.each<[string[], number, RegExp]>([
  [['--json-schema', 'strin'], 1, /strin: no such file.*or a type: object, array, string/],
  [['--json-schema', '{"type": '], 1, /the schema is not JSON/],
  [
    ['--json-schema', '{"properties": {"a": {"if": {}}}}'],
    1,
    /at \/properties\/a\/if: the keyword "if" is not supported/,
  ],
  [['--choice', 'yes,'], 2, /--choice "yes," has an empty choice/],
  [['--choice', ''], 2, /has an empty choice/],
  [['--regex', '('], 1, /the guide \(regex\): .*unclosed group/],
  [['--grammar', 'none.lark'], 1, /none\.lark: no such file/],
])('`run` with %j says what is wrong', async (more, code, why) => {
  const ended = await runCli(folder, ['run', ...flags(), ...more, 'x'])
  expect(ended).toMatchObject({ code, out: '', err: expect.stringMatching(why) })
})
