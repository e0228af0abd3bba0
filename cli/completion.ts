/** Generates completion scripts from the table of flags. */
import { type Command, commands, flagsOf } from './flags.ts'
import { UsageError } from './parse.ts'

export function completion(shell: string | undefined): string {
  if (shell === 'bash') return bash()
  if (shell === 'zsh') return `autoload -U +X bashcompinit && bashcompinit\n${bash()}`
  if (shell === 'fish') return fish()
  throw new UsageError('completion takes one of bash, zsh, fish')
}

const names = Object.keys(commands) as Command[]

function bash(): string {
  const cases = names.map((command) => {
    const words = flagsOf(command).flatMap(([name, { short }]) => (short ? [`--${name}`, `-${short}`] : [`--${name}`]))
    return `    ${command}) words="${[...words, ...operands(command)].join(' ')}" ;;`
  })
  const values = new Map<string, string>()
  for (const command of names)
    for (const [name, { value }] of flagsOf(command)) {
      if (value === 'file') values.set(name, 'COMPREPLY=($(compgen -f -- "$word")); return')
      else if (value !== undefined && typeof value !== 'string')
        values.set(name, `COMPREPLY=($(compgen -W "${value.join(' ')}" -- "$word")); return`)
    }
  return `_foretoken() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" words
  case "$before" in
${[...values].map(([name, action]) => `    --${name}) ${action} ;;`).join('\n')}
  esac
  case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
    *) words="${names.join(' ')} --help --version" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word") $(compgen -f -- "$word"))
}
complete -o filenames -F _foretoken foretoken`
}

function fish(): string {
  const lines = ['complete -c foretoken -f']
  for (const command of names) {
    lines.push(`complete -c foretoken -n __fish_use_subcommand -a ${command} -d ${quote(commands[command].about)}`)
    const within = `-n '__fish_seen_subcommand_from ${command}'`
    for (const word of operands(command)) lines.push(`complete -c foretoken ${within} -a ${word}`)
    for (const [name, { short, value, about }] of flagsOf(command)) {
      const takes = value === undefined ? '' : value === 'file' ? ' -r -F' : ' -r'
      const choices = value !== undefined && typeof value !== 'string' ? ` -a '${value.join(' ')}'` : ''
      const dash = short ? ` -s ${short}` : ''
      lines.push(`complete -c foretoken ${within} -l ${name}${dash}${takes}${choices} -d ${quote(about)}`)
    }
  }
  return lines.join('\n')
}

/** Returns the fixed words that a command accepts as its operand. */
function operands(command: Command): string[] {
  const { args } = commands[command]
  return args.includes('|') ? args.split('|') : []
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "\\'")}'`
}
