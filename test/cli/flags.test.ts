/** The table of flags: what parses, what help says, and what shells complete. */
import { describe, expect, test } from 'vitest'
import { completion } from '../../cli/completion.ts'
import { type Command, commands, type Flag, flags, flagsOf } from '../../cli/flags.ts'
import { commandHelp, examples } from '../../cli/help.ts'
import { parse } from '../../cli/parse.ts'

describe('the table of flags', () => {
  test.each(Object.keys(commands) as Command[])('help of %s names each of its flags', (command) => {
    const rows = [...commandHelp(command).matchAll(/^ {2}(?:-\w, | {4})--([\w-]+)/gm)].map(([, name]) => name)
    const own = Object.entries(flags).filter(([, { on }]) => (on as readonly string[]).includes(command))
    expect(rows).toEqual(own.map(([name]) => name))
  })

  test.each(Object.entries(examples))('examples of %s are valid commands', (_, lines) => {
    for (const line of lines!) {
      const words = line.replace(/ [<>].*/, '').match(/"[^"]*"|\S+/g)!
      expect(() => parse(words.map((word) => word.replaceAll('"', '')))).not.toThrow()
    }
  })

  test("no help mentions another command's flags, or has a line that is too long", () => {
    for (const command of Object.keys(commands) as Command[]) {
      const about = flagsOf(command).map(([, flag]) => flag.about)
      const others = Object.keys(commands).filter((other) => other !== command)
      for (const text of about)
        expect(text).not.toMatch(new RegExp(`(^|; |of )(${others.join('|')})( \\w+)?: |, (${others.join('|')}) \\d`))
      for (const line of commandHelp(command).split('\n')) expect(line.length, line).toBeLessThanOrEqual(120)
    }
  })

  test('the choices of a flag depend on the command', () => {
    expect(() => parse(['run', '--backend', 'llama', 'x'])).toThrow(
      '--backend takes one of wasm, webgpu, not "llama"; companion accepts it',
    )
    expect(parse(['companion', '--backend', 'llama']).flags.backend).toBe('llama')
  })

  test.each(['bash', 'zsh', 'fish'])('completion for %s lists every command and flag', (shell) => {
    const script = completion(shell)
    for (const name of [...Object.keys(commands), ...Object.keys(flags)]) expect(script).toContain(name)
  })

  test('a flag with one value is refused if it is given twice, whatever the command', () => {
    const sample = ({ value, min = 1, max = min }: Flag): string => {
      if (Array.isArray(value)) return value[0]
      if (value === 'duration') return '1s'
      return value === 'text' || value === 'file' || value === 'text-or-file' ? 'a' : String(Math.min(min, max))
    }
    let refused = 0
    for (const command of Object.keys(commands) as Command[])
      for (const [name, flag] of flagsOf(command)) {
        if (flag.value === undefined) {
          expect(() => parse([command, `--${name}`, `--${name}`])).not.toThrow()
          continue
        }
        const value = sample(flag)
        const twice = () =>
          parse([command, `--${name}`, value, flag.short ? `-${flag.short}=${value}` : `--${name}=${value}`])
        if (flag.many || flag.value === 'texts') expect(twice).not.toThrow()
        else {
          expect(twice, `${command} --${name}`).toThrow(
            `${command} takes --${name} once, and it is given again: "${value}"`,
          )
          refused++
        }
      }
    expect(refused).toBeGreaterThan(100)
    expect(() => parse(['embed', '-m', 'a', '-m', 'b', 'x'])).toThrow(
      '"b"; batch and serve may have several; leave out one',
    )
    expect(parse(['serve', '-m', 'a', '-m', 'b']).all.model).toEqual(['a', 'b'])
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
