/**
 * Tests `-` in place of a file and `@FILE` in place of a text: what they stand for, and what is
 * refused.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type FlagName, flags } from '../../cli/flags.ts'
import { parse, UsageError } from '../../cli/parse.ts'
import { streamsOf, useStreams } from '../../cli/streams.ts'
import { textOfArgument, textOfOperands, withTextArguments } from '../../cli/text-argument.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'foretoken-streams-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const split = (line: string) => line.split(' ')
const uses = (line: string) => streamsOf(parse(split(line))).map(({ stream, by }) => `${by}: ${stream}`)

describe('"-" for a file', () => {
  test.each([
    ['run -', ['"-": stdin']],
    ['run @-', ['"@-": stdin']],
    ['run x -', []],
    ['run --prompt-file -', ['--prompt-file: stdin']],
    ['run --system @- x', ['--system @-: stdin']],
    ['run --prefix - x', ['--prefix: stdin']],
    ['tokenize --file -', ['--file: stdin']],
    ['batch - out', ['"-" in place 1: stdin']],
    ['batch in -', ['"-" in place 2: stdout']],
    ['batch - -', ['"-" in place 1: stdin', '"-" in place 2: stdout']],
    ['prefix save -', ['"-" in place 2: stdout']],
    ['prefix load -', ['"-" in place 2: stdin']],
    ['fit --data - --out -', ['--data: stdin', '--out: stdout']],
    ['bench replay -', ['"-" in place 2: stdin']],
    ['bench report --out -', ['--out: stdout']],
    ['bench prepack --dataset - --plot -', ['--dataset: stdin', '--plot: stdout']],
    ['eval --plot -', ['--plot: stdout']],
    ['serve --config -', ['--config: stdin']],
    ['doctor --config -', ['--config: stdin']],
  ])('%s', (line, expected) => {
    expect(uses(line).sort()).toEqual([...expected].sort())
    expect(() => streamsOf(parse(split(line)))).not.toThrow()
  })

  test.each([
    ['deploy-prep --out -', /--out takes a folder/],
    ['bench ttft --plot -', /--plot takes a folder/],
    ['bench report -', /takes a folder/],
    ['eval --data -', /--data takes a folder/],
    ['run -m - x', /--model takes a file with random access/],
    ['run --predictor - x', /--predictor takes a file with random access/],
    ['inspect -', /takes a file with random access/],
  ])('%s is refused', (line, message) => {
    expect(() => streamsOf(parse(split(line)))).toThrow(UsageError)
    expect(() => streamsOf(parse(split(line)))).toThrow(message)
  })

  test.each([
    ['run --system @- -', /stdin can be used only once, but --system @- and "-" would share it/],
    ['chat --system @-', /stdin can be used only once, but --system @- and the chat/],
    ['chat --prefix -', /--prefix and the chat/],
    ['run --json-schema - -', /--json-schema and "-"/],
    ['batch in - --json', /stdout can be used only once, but "-" in place 2 and --json/],
    ['eval --plot - --json', /--plot and --json/],
  ])('%s shares a stream', (line, message) => expect(() => useStreams(parse(split(line)))).toThrow(message))

  test('is accepted or refused for every flag that names a file', () => {
    for (const [name, { value, on }] of Object.entries(flags) as [
      FlagName,
      { value?: unknown; on: readonly string[] },
    ][]) {
      if (value !== 'file') continue
      for (const command of on) {
        const outcome = () => streamsOf(parse([command, `--${name}`, '-']))
        try {
          expect(
            outcome().some(({ by }) => by === `--${name}`),
            `${command} --${name}`,
          ).toBe(true)
        } catch (error) {
          expect(error, `${command} --${name}`).toBeInstanceOf(UsageError)
        }
      }
    }
  })
})

describe('@FILE for a text', () => {
  const file = (name: string, content: string | Buffer) => {
    const path = join(folder, name)
    writeFileSync(path, content)
    return path
  }
  const utf16be = (text: string) => Buffer.from(`\ufeff${text}`, 'utf16le').swap16()

  test.each([
    ['UTF-8', Buffer.from('hé €\n')],
    ['UTF-8 with a mark', Buffer.from('\ufeffhé €\r\n')],
    ['UTF-16LE', Buffer.from('\ufeffhé €\n', 'utf16le')],
    ['UTF-16BE', utf16be('hé €\n')],
  ])('of %s', async (_, bytes) => expect(await textOfArgument(`@${file('text', bytes)}`)).toBe('hé €'))

  test.each([
    ['@@home', '@home'],
    ['@@', '@'],
    ['@@@x', '@@x'],
    ['a@b', 'a@b'],
    ['', ''],
  ])('is not parsed in %s', async (argument, text) => expect(await textOfArgument(argument)).toBe(text))

  test('that is missing, a folder, binary or without a name is refused, with how to write a literal @', async () => {
    const none = join(folder, 'none.txt')
    const missing = {
      code: 'not_found',
      message: `${none}: no such file or folder; to begin a text with @, write @@`,
    }
    await expect(textOfArgument(`@${none}`)).rejects.toMatchObject(missing)
    mkdirSync(join(folder, 'sub'), { recursive: true })
    await expect(textOfArgument(`@${join(folder, 'sub')}`)).rejects.toMatchObject({
      code: 'io',
      message: expect.stringContaining('a folder, not a file'),
    })
    const binary = file('binary', Buffer.from([0x47, 0x47, 0x55, 0x46, 3, 0, 0, 0]))
    await expect(textOfArgument(`@${binary}`)).rejects.toMatchObject({ code: 'bad_argument' })
    await expect(textOfArgument('@')).rejects.toThrow(UsageError)
  })

  test('stands on lines of its own among words', async () => {
    const path = file('note', 'a note\n')
    expect(await textOfOperands(['Sum', 'up', `@${path}`])).toBe('Sum up\na note')
    expect(await textOfOperands([`@${path}`, 'in one', 'line'])).toBe('a note\nin one line')
    expect(await textOfOperands(['@@a', 'b'])).toBe('@a b')
    expect(await textOfOperands([`@${path}`])).toBe('a note')
  })

  test('is parsed in flags that accept a text, and in no others', async () => {
    const path = file('system', 'Be brief.\n')
    const read = async (...args: string[]) => (await withTextArguments(parse(args))).flags
    expect(await read('run', '--system', `@${path}`, 'x')).toEqual({ system: 'Be brief.' })
    expect(await read('chat', '--system', `@${path}`)).toEqual({ system: 'Be brief.' })
    expect(await read('prefix', 'save', 'f', '--system', `@${path}`)).toEqual({ system: 'Be brief.' })
    expect(await read('run', '-p', `@${path}`)).toEqual({ prompt: 'Be brief.' })
    expect(await read('run', '--stop', `@${path}`, 'x')).toEqual({ stop: [`@${path}`] })
  })
})
