import { describe, expect, test } from 'vitest'
import { type Command, commands } from '../../cli/flags.ts'
import { helpAskedBy } from '../../cli/help-request.ts'
import { checkPrompt } from '../../cli/mistyped.ts'
import { parse, UsageError } from '../../cli/parse.ts'

const all = Object.keys(commands) as Command[]
const split = (line: string) => line.split(' ')

describe('help', () => {
  test.each(all)('on %s is requested in four ways', (command) => {
    const asked = { about: 'command', command }
    for (const line of [`help ${command}`, `${command} --help`, `${command} -h`, `--help ${command}`])
      expect(helpAskedBy(split(line)), line).toEqual(asked)
    if (command !== 'run' && command !== 'tokenize') expect(helpAskedBy([command, 'help'])).toEqual(asked)
  })

  test.each(['help', '--help', '-h', 'help --help', '--help -h', 'help help', 'help version', 'help --json'])(
    'on everything: %s',
    (line) => expect(helpAskedBy(split(line))).toEqual({ about: 'everything' }),
  )

  test.each([
    ['serve --port 80 --help', 'serve'],
    ['serve --prot 80 -h', 'serve'],
    ['--temperature 2 --help', 'run'],
    ['bench prefill --help', 'bench'],
    ['run a prompt -m x --help', 'run'],
    ['serve --model --help', 'serve'],
    ['hello --help', 'run'],
  ])('takes precedence over other arguments: %s', (line, command) =>
    expect(helpAskedBy(split(line))).toEqual({ about: 'command', command }),
  )

  test.each([
    'run help',
    'tokenize help',
    'help me with my taxes',
    'run -- --help',
    'run --stop=--help x',
    'hello',
    'serve',
  ])('is not requested by %s', (line) => expect(helpAskedBy(split(line))).toBeUndefined())

  test('on an unknown command names the nearest one', () => {
    expect(() => helpAskedBy(['help', 'srve'])).toThrow(/no command `srve`; did you mean `serve`/)
    expect(() => helpAskedBy(['help', 'delete'])).toThrow(/did you mean `rm`/)
    expect(() => helpAskedBy(['srve', '--help'])).toThrow(/did you mean `serve`/)
    expect(() => helpAskedBy(['help', 'xyzzy'])).toThrow(UsageError)
  })
})

describe('the version', () => {
  test.each(['version', '--version', '-V', '-v', 'version --json', '--version --json', 'serve --version'])(
    '%s',
    (line) => expect(helpAskedBy(split(line))).toEqual({ about: 'version' }),
  )

  test.each(['run version', 'version control is', 'run -v', 'run -- --version'])('is not requested by %s', (line) =>
    expect(helpAskedBy(split(line))).toBeUndefined(),
  )
})

describe('an unknown command', () => {
  const check = (line: string) => checkPrompt(split(line), parse(split(line)).operands)

  test.each([
    ['serv', 'serve'],
    ['chatt', 'chat'],
    ['list', 'ls'],
    ['pul smollm2-135m', 'pull'],
    ['delete hf:owner/repo', 'rm'],
    ['inspec', 'inspect'],
    ['hlep', 'help'],
    ['hlep serve', 'help serve'],
    ['verison', 'version'],
    ['docter', 'doctor'],
  ])('%s: did you mean %s', (line, command) =>
    expect(() => check(line)).toThrow(
      new UsageError(
        `no command \`${line.split(' ')[0]}\`; did you mean \`${command}\`? To send it as a prompt: \`foretoken run ${line}\``,
      ),
    ),
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
    'held them',
    'hello hlep',
  ])('%s is a prompt, or an existing command', (line) => expect(() => check(line)).not.toThrow())
})

describe('a value that looks like a flag', () => {
  test.each([
    ['run -m --json hi', '`--model` needs a value; `--json` looks like a flag; write `--model=--json` if you mean it'],
    ['run --stop -t x', '`--stop` needs a value; `-t` looks like a flag; write `--stop=-t` if you mean it'],
    [
      'run --system --top-k=5 x',
      '`--system` needs a value; `--top-k=5` looks like a flag; write `--system=--top-k=5` if you mean it',
    ],
  ])('%s', (line, message) => expect(() => parse(split(line))).toThrow(new UsageError(message)))

  test.each([
    [['run', '--model=--json', 'x'], { model: '--json' }],
    [['run', '--stop', '---', '--stop', '-->', 'x'], { stop: ['---', '-->'] }],
    [['run', '--system', '- be brief', 'x'], { system: '- be brief' }],
    [['run', '--system', '--json is a flag of mine', 'x'], { system: '--json is a flag of mine' }],
    [['run', '--presence-penalty', '-1', 'x'], { 'presence-penalty': -1 }],
    [['run', '--prompt-file', '-'], { 'prompt-file': '-' }],
  ])('is not found in %j', (args, flags) => expect(parse(args).flags).toEqual(flags))
})
