/** Generates help texts from the table of flags. */
import { exitCodes } from './exit.ts'
import { type Command, commands, type Flag, flagsOf } from './flags.ts'

export function generalHelp(version: string): string {
  const width = Math.max(...Object.keys(commands).map((name) => name.length))
  const list = Object.entries(commands).map(([name, { about }]) => `  ${name.padEnd(width)}  ${about}`)
  const codes = Object.values(exitCodes).map(({ code, brief }) => `${code} ${brief}`)
  return `foretoken ${version}: LLM inference at the edge, built for a short time to first token

usage: foretoken [COMMAND] [FLAGS] [ARGUMENTS]
       foretoken "What is the capital of Norway?"

${list.join('\n')}

If the first argument is not a command, it is a prompt for run. "foretoken help COMMAND" lists the flags of a command.
"-" in place of a file is stdin or stdout. A prompt or --system of @FILE is read from that file; @@ begins a text with
a single @.
Exit codes: ${codes.join(', ')}.
Environment: FORETOKEN_HOME, FORETOKEN_OFFLINE, HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT, HTTPS_PROXY,
HTTP_PROXY, ALL_PROXY, NO_PROXY, NO_COLOR; docs/cli.md lists all of them.`
}

/** Maximum width of a command's help, in characters. */
const columns = 110

export function commandHelp(command: Command): string {
  const { args, about } = commands[command]
  const rows = flagsOf(command).map(([name, flag]) => ({ head: head(name, flag), about: flag.about }))
  const width = Math.max(...rows.map((row) => row.head.length))
  const indent = `\n${' '.repeat(width + 4)}`
  const list = rows.map((row) => `  ${row.head.padEnd(width)}  ${wrapped(row.about, columns - width - 4).join(indent)}`)
  const samples = examples[command]?.map((line) => `\n  foretoken ${line}`)
  return `foretoken ${command}: ${about}

usage: foretoken ${command} [FLAGS]${args ? ` ${args}` : ''}

${list.join('\n')}${notes[command] ? `\n\n${notes[command]}` : ''}${samples ? `\n\nfor example:${samples.join('')}` : ''}`
}

/** Wraps a text into lines of at most `width` characters. */
function wrapped(text: string, width: number): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const longer = `${lines.at(-1)} ${word}`
    if (lines.length > 0 && longer.length <= width) lines[lines.length - 1] = longer
    else lines.push(word)
  }
  return lines
}

function head(name: string, { short, value, name: valueIs }: Flag): string {
  const dashes = short ? `-${short}, --${name}` : `    --${name}`
  return value === undefined ? dashes : `${dashes} ${valueIs ?? valueName(value)}`
}

/** Example commands in shell syntax; tests parse them. */
export const examples: Partial<Record<Command, readonly string[]>> = {
  run: [
    'run "What is the capital of Norway?"',
    'run "Sum up this text:" @notes.txt',
    'run -m hf:Qwen/Qwen3-0.6B -t 0.7 "Hello"',
    'run --choice yes,no "Is Oslo the capital of Norway?"',
  ],
  chat: ['chat', 'chat --system "Answer in one sentence."', 'chat --tools --tool-choice required'],
  pull: ['pull smollm2-135m', 'pull gemma3-270m --accept-license', 'pull hf:Qwen/Qwen3-0.6B'],
  rm: ['rm hf:Qwen/Qwen3-0.6B'],
  inspect: ['inspect', 'inspect path/to/model.gguf'],
  tokenize: ['tokenize "Hello, world"', 'tokenize @notes.txt'],
  embed: [
    'embed -m hf:Qwen/Qwen3-Embedding-0.6B "some text"',
    'embed -m model.gguf --file texts.jsonl --kind document',
  ],
  batch: ['batch questions.jsonl answers.jsonl', 'batch - - < questions.jsonl'],
  prefix: ['prefix save role.ft --system @role.txt', 'run --prefix role.ft --system @role.txt "Where?"'],
  fit: ['fit --base smollm2-135m --data texts.jsonl --out predictor.safetensors'],
  eval: [
    'eval --data FOLDER --suite documents --lengths 512 --work 50 --cases 12',
    'eval --data FOLDER --work 25,36,50 --lengths 512,1024,2048,4096 --resume scores.jsonl',
  ],
  serve: [
    'serve',
    'serve -m path/to/model.gguf --port 8000',
    'serve -m smollm2-135m -m qwen3-embedding-0.6b --keep 2 --idle 10m',
  ],
  companion: ['companion', 'companion --listen 127.0.0.1:8788'],
  'deploy-prep': ['deploy-prep --out weights'],
  bench: ['bench ttft', 'bench prefill --lengths 128,512 --json'],
  doctor: ['doctor', 'doctor --offline --json'],
  completion: ['completion bash > ~/.local/share/bash-completion/completions/foretoken'],
}

function valueName(value: NonNullable<Flag['value']>): string {
  if (typeof value !== 'string') return value.join('|')
  return {
    text: 'TEXT',
    'text-or-file': 'TEXT|@FILE',
    file: 'FILE',
    whole: 'N',
    number: 'X',
    seed: 'N',
    wholes: 'N,N,...',
    duration: 'TIME',
    texts: 'TEXT',
  }[value]
}

const notes: Partial<Record<Command, string>> = {
  run: `The prompt is read from stdin if it is "-", or if there is none and stdin is not a terminal, and from a file if it
is @FILE. Both must be UTF-8, or UTF-16 with a byte order mark; the last line ending is removed.
--json prints {model, prompt_ids, ids, text, finish_reason, top_logprobs, timings, cached_tokens, prefill, exact_from,
verified, prefill_share, memory, build}.`,
  chat: `/clear forgets the conversation, /exit or Ctrl-D ends it, Ctrl-C stops an answer. /schema FILE|TYPE|off gives the
next answers a shape, and /tools [auto|required|off] gives the model a calculator and a clock; /help lists the commands.`,
  embed: `A TEXT is one text, also @FILE. Each line of --file or stdin is one. Each line of output is {line, id, tokens,
embedding}, or {line, id, error} for a text that was refused; the exit code is then 1.`,
  batch: `Each line of IN is a JSON object: {"prompt"} or {"messages"} with options, or a request of OpenAI's batch API.
Each answer is a line of OUT, written when it is complete, in any order; a bad line gives an error line. "-" is stdin
as IN and stdout as OUT; a batch to stdout cannot be resumed.`,
  prefix: `save writes FILE from --system or from the text in --prompt-file; load checks that FILE is valid and fits this
model. run, chat and batch use it with --prefix FILE and the same --system.`,
  bench: `prefill, decode: speed by length. prepack: prompts one by one, padded, sorted by length, and packed. replay: a
recorded trace on the scheduler, and first come, first served.
--json prints {bench, model, build, threads, machine, results}.`,
  eval: `Each suite is a kind of prompt. The exact model answers, and each method, at the same amount of work, is compared
with it along its answer. documents: passages, one of them asked about, at the front, in the middle or at the end.
code: a function to complete behind other files. turns: chats of many turns. lm: running text. chat: requests after
running text. recall: digits to recall. questions, lambada: the end of the prompt alone is enough.
--json prints {bench, model, build, machine, seed, plan, training, overlap, cases, swiftkv, results}.`,
  doctor: `Each check takes a few seconds at most. Exit code 0: the default model can run here; 1: something is missing.
--json prints {ok, checks: [{name, verdict, found, next}]}; verdicts are ok, note, warning, missing.`,
  pull: 'An interrupted pull resumes where it stopped.',
}
