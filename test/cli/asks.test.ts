import { describe, expect, test } from 'vitest'
import { askedBy, checkPrompt } from '../../cli/asks.ts'
import { type Command, commands } from '../../cli/flags.ts'
import { parse, UsageError } from '../../cli/parse.ts'

const all = Object.keys(commands) as Command[]
const split = (line: string) => line.split(' ')

describe('help', () => {
  test.each(all)('on %s is asked for in four ways', (command) => {
    const asked = { about: 'command', command }
    for (const line of [`help ${command}`, `${command} --help`, `${command} -h`, `--help ${command}`])
      expect(askedBy(split(line)), line).toEqual(asked)
    if (command !== 'run' && command !== 'tokenize') expect(askedBy([command, 'help'])).toEqual(asked)
  })

  test.each(['help', '--help', '-h', 'help --help', '--help -h'])('on everything: %s', (line) =>
    expect(askedBy(split(line))).toEqual({ about: 'everything' }),
  )

  test.each([
    ['serve --port 80 --help', 'serve'],
    ['serve --prot 80 -h', 'serve'],
    ['--temperature 2 --help', 'run'],
    ['bench prefill --help', 'bench'],
  ])('wins over what else is said: %s', (line, command) =>
    expect(askedBy(split(line))).toEqual({ about: 'command', command }),
  )

  test.each([
    'run help',
    'tokenize help',
    'help me with my taxes',
    'run -- --help',
    'run --stop --help x',
    'hello',
    'serve',
  ])('is not what %s asks for', (line) => expect(askedBy(split(line))).toBeUndefined())

  test('on a command that is not there names the nearest', () => {
    expect(() => askedBy(['help', 'srve'])).toThrow(/no command srve, the nearest is serve/)
    expect(() => askedBy(['help', 'delete'])).toThrow(/the nearest is rm/)
    expect(() => askedBy(['help', 'xyzzy'])).toThrow(UsageError)
  })
})

test.each(['version', '--version', '-V', '-v'])('the version: %s', (word) => {
  expect(askedBy([word])).toEqual({ about: 'version' })
  expect(askedBy(['run', word])).toBeUndefined()
})

describe('a command that is not there', () => {
  const check = (line: string) => checkPrompt(split(line), parse(split(line)).operands)

  test.each([
    ['serv', 'serve'],
    ['chatt', 'chat'],
    ['list', 'ls'],
    ['pul smollm2-135m', 'pull'],
    ['delete hf:owner/repo', 'rm'],
    ['inspec', 'inspect'],
  ])('%s: did you mean %s', (line, command) =>
    expect(() => check(line)).toThrow(new RegExp(`did you mean ${command}\\?.*foretoken run ${line}`)),
  )

  test.each([
    'hello',
    'Serv',
    'serv the people',
    'fix my code',
    'pull the other one',
    'run serv',
    '-t 0 serv',
    'why',
    '2+2',
  ])('%s is a prompt, or a command that is there', (line) => expect(() => check(line)).not.toThrow())
})
