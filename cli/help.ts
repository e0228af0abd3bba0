/** Help texts, from the table of flags. */
import { exitCodes } from './exit.ts'
import { type Command, commands, type Flag, flagsOf } from './flags.ts'

export function generalHelp(version: string): string {
  const width = Math.max(...Object.keys(commands).map((name) => name.length))
  const list = Object.entries(commands).map(([name, { about }]) => `  ${name.padEnd(width)}  ${about}`)
  const codes = Object.values(exitCodes).map(({ code, brief }) => `${code} ${brief}`)
  return `foretoken ${version}: LLM inference whose first concern is time to first token

usage: foretoken [COMMAND] [FLAGS] [ARGUMENTS]
       foretoken "What is the capital of Norway?"

${list.join('\n')}

A first argument that is not a command is a prompt for run. "foretoken help COMMAND" lists the flags of a command.
"-" for a file is stdin or stdout. A prompt or --system of @FILE is read from the file; @@ begins a text with one @.
Exit codes: ${codes.join(', ')}.
Environment: FORETOKEN_HOME, FORETOKEN_OFFLINE, HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT, HTTPS_PROXY,
HTTP_PROXY, ALL_PROXY, NO_PROXY, NO_COLOR.`
}

export function commandHelp(command: Command): string {
  const { args, about } = commands[command]
  const rows = flagsOf(command).map(([name, flag]) => ({ head: head(name, flag), about: flag.about }))
  const width = Math.max(...rows.map((row) => row.head.length))
  const list = rows.map((row) => `  ${row.head.padEnd(width)}  ${row.about}`)
  return `foretoken ${command}: ${about}

usage: foretoken ${command} [FLAGS]${args ? ` ${args}` : ''}

${list.join('\n')}${notes[command] ? `\n\n${notes[command]}` : ''}`
}

function head(name: string, { short, value }: Flag): string {
  const dashes = short ? `-${short}, --${name}` : `    --${name}`
  return value === undefined ? dashes : `${dashes} ${valueName(value)}`
}

function valueName(value: NonNullable<Flag['value']>): string {
  if (typeof value !== 'string') return value.join('|')
  return {
    text: 'TEXT',
    prose: 'TEXT|@FILE',
    file: 'FILE',
    whole: 'N',
    number: 'X',
    seed: 'N',
    wholes: 'N,N,...',
    texts: 'TEXT',
  }[value]
}

const notes: Partial<Record<Command, string>> = {
  run: `The prompt is read from stdin if it is "-", or if there is none and stdin is not a terminal, and from a file if it
is @FILE. The last end of line is dropped; both are UTF-8, or UTF-16 with a byte order mark.
--json prints {model, prompt_ids, ids, text, finish_reason, top_logprobs, timings, cached_tokens, prefill, exact_from,
prefill_share, memory, build}.`,
  chat: '/clear forgets the conversation, /exit or Ctrl-D ends it, Ctrl-C stops an answer.',
  batch: `IN holds a JSON object a line: {"prompt"} or {"messages"} with options, or requests as of OpenAI's batch API.
Each answer is a line of OUT, written when it is there, in any order; a bad line gives an error line. "-" as IN is stdin,
as OUT stdout, which holds nothing to go on from.`,
  prefix: `save: --system TEXT, or a text as --prompt-file; load: tells whether FILE is sound and of this model.
run, chat and batch have a flag to use it.`,
  bench: `prefill, decode: speed by length. prepack: one by one, padded, ordered by length, packed. replay: a recorded
trace against the scheduler, and first come, first served.
--json prints {bench, model, build, threads, machine, results}.`,
  doctor: `Each check ends within some seconds. Exit code 0: the model can run here; 1: something it needs is missing.
--json prints {ok, version, checks: [{name, verdict, found, next}]}; verdicts are ok, note, warning, missing.`,
  pull: 'What has been fetched is kept: an interrupted pull goes on where it stopped.',
}
