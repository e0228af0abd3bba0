/** The `foretoken` command. Loads the code of a command only when that command runs. */
import { readFileSync } from 'node:fs'
import { asForetokenError } from '../src/base/errors.ts'
import { completion } from './completion.ts'
import { exitCodes } from './exit.ts'
import type { Command } from './flags.ts'
import { keepHeapSmall } from './heap.ts'
import { commandHelp, generalHelp } from './help.ts'
import { helpAskedBy } from './help-request.ts'
import { type Interrupt, interruptible } from './interrupt.ts'
import { checkPrompt } from './mistyped.ts'
import { type Invocation, parse, UsageError } from './parse.ts'
import { useStreams } from './streams.ts'
import { note, print } from './terminal.ts'
import { withTextArguments } from './text-argument.ts'

/** Runs a command. A returned number is the exit code, also after a signal. */
type Handler = (invocation: Invocation, signal: AbortSignal) => Promise<number | undefined> | Promise<void>

const handlers: Record<Command, () => Promise<Handler>> = {
  run: async () => (await import('./commands/run.ts')).run,
  chat: async () => (await import('./commands/chat.ts')).chat,
  pull: async () => (await import('./commands/models.ts')).pull,
  ls: async () => (await import('./commands/models.ts')).ls,
  rm: async () => (await import('./commands/models.ts')).rm,
  inspect: async () => (await import('./commands/inspect.ts')).inspect,
  tokenize: async () => (await import('./commands/tokenize.ts')).tokenize,
  embed: async () => (await import('./commands/embed.ts')).embed,
  batch: async () => (await import('./commands/batch.ts')).batch,
  prefix: async () => (await import('./commands/prefix.ts')).prefix,
  fit: async () => (await import('./commands/fit.ts')).fit,
  eval: async () => (await import('./commands/eval.ts')).evaluate,
  serve: async () => {
    keepHeapSmall()
    return (await import('./commands/serve.ts')).serve
  },
  companion: async () => {
    keepHeapSmall()
    return (await import('./commands/companion.ts')).companion
  },
  'deploy-prep': async () => (await import('./commands/deploy-prep.ts')).deployPrep,
  bench: async () => (await import('./commands/bench.ts')).bench,
  doctor: async () => (await import('./commands/doctor.ts')).doctor,
  completion:
    async () =>
    async ({ operands }) =>
      print(completion(operands[0])),
}

/** Whether a signal has ended the command. */
let interrupted = false

async function main(args: readonly string[]): Promise<number> {
  const json = args.includes('--json')
  const interrupt = interruptible()
  interrupt.signal.addEventListener('abort', () => {
    interrupted = true
  })
  try {
    const asked = helpAskedBy(args)
    if (asked?.about === 'version') print(json ? JSON.stringify({ version: version() }) : version())
    else if (asked?.about === 'command') print(commandHelp(asked.command))
    else if (asked || (args.length === 0 && process.stdin.isTTY)) print(generalHelp(version()))
    else {
      const invocation = parse(args)
      checkPrompt(args, invocation.operands)
      useStreams(invocation)
      const code = await (await handlers[invocation.command]())(await withTextArguments(invocation), interrupt.signal)
      if (typeof code === 'number') return code
    }
    return interrupt.code() ?? exitCodes.done.code
  } catch (error) {
    return fail(error, json, interrupt)
  } finally {
    interrupt.end()
  }
}

/** Prints the error on stderr, and returns the exit code. */
function fail(
  error: unknown,
  json: boolean,
  { signal, code: codeBySignal }: Pick<Interrupt, 'signal' | 'code'>,
): number {
  const usage = error instanceof UsageError
  const known = signal.aborted ? { code: 'aborted', message: 'interrupted' } : asForetokenError(error)
  const { code, message } = usage ? { code: 'bad_argument', message: error.message } : known
  if (json) note(JSON.stringify({ error: { code, message } }))
  else if (code === 'aborted') note('interrupted')
  else note(usage ? `foretoken: ${message}` : `foretoken: ${message} (${code})`)
  if (process.env.FORETOKEN_DEBUG && error instanceof Error) note(error.stack ?? '')
  if (usage) return exitCodes.usage.code
  if (code !== 'aborted') return exitCodes.failed.code
  return codeBySignal() ?? exitCodes.interrupted.code
}

function version(): string {
  return JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version
}

/**
 * Returns the exit code after a failed write: success if the reader closed the output (`| head`),
 * failure otherwise, as on a full disk.
 */
function unwritten({ code, message }: NodeJS.ErrnoException): number {
  if (code === 'EPIPE') return exitCodes.done.code
  note(`foretoken: stdout: ${message} (${code === 'ENOSPC' ? 'disk_full' : 'io'})`)
  return exitCodes.failed.code
}

process.stdout.on('error', (error) => process.exit(unwritten(error)))
// Prints uncaught errors like all others; Node would print a stack.
process.on('uncaughtException', (error) =>
  process.exit(fail(error, false, { signal: new AbortController().signal, code: () => undefined })),
)
// A closed stderr does not end the command.
process.stderr.on('error', () => {})
const code = await main(process.argv.slice(2))
// Exits even if a DNS lookup or an idle connection is still open.
process.stdout.write('', (error) => process.exit(error ? unwritten(process.stdout.errored ?? error) : code))
// After a signal, exits even if the reader of stdout has stalled.
if (interrupted) setTimeout(() => process.exit(code), 2000)
