/** `foretoken chat`: runs a conversation in the terminal. */
import { createInterface } from 'node:readline/promises'
import { Readable } from 'node:stream'
import {
  type AnyEngine,
  asForetokenError,
  type ChatMessage,
  type CorrectionEvent,
  type DoneEvent,
  planAnswer,
} from '../../node/index.ts'
import { shownArguments } from '../../playground/arguments.ts'
import { answerWithTools, type Choice, type Step } from '../../playground/loop.ts'
import { playgroundTools } from '../../playground/tools.ts'
import { AnswerWriter } from '../answer-writer.ts'
import { type ChatSettings, changed, chatCommands, checkSettings, settingsOf } from '../chat-settings.ts'
import { chunkParts, questionAfter } from '../chunks.ts'
import type { Flags } from '../flags.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { generateOptions, openAny, summaryLine, verifies } from '../session.ts'
import { answerTerminal, note } from '../terminal.ts'
import { decodePieces } from '../text.ts'

export async function chat({ flags, operands }: Invocation, signal: AbortSignal): Promise<void> {
  if (operands.length > 0) throw new UsageError('chat takes no prompt; type it after the chat starts')
  let settings = await settingsOf(flags)
  const chunks = await chunkParts(flags.chunk)
  const { model, engine } = await openAny(flags, signal, { use: 'chat' })
  try {
    await checkSettings(engine, settings)
  } catch (error) {
    await engine.close()
    throw error
  }
  const terminal = Boolean(process.stdin.isTTY)
  const lines = terminal
    ? createInterface({ input: process.stdin, output: process.stderr, terminal })
    : createInterface({ input: Readable.from(decodePieces(process.stdin, 'stdin')) })
  const start: ChatMessage[] = flags.system === undefined ? [] : [{ role: 'system', content: flags.system }]
  let messages = [...start]
  let answering: AbortController | undefined
  lines.on('SIGINT', () => {
    if (answering) answering.abort()
    else lines.close()
  })
  signal.addEventListener('abort', () => {
    answering?.abort()
    lines.close()
  })
  if (terminal) {
    note(`${model}. /help lists the commands, /exit or Ctrl-D ends the chat, Ctrl-C stops an answer.`, 'aside')
    lines.setPrompt('> ')
    lines.prompt()
  }
  try {
    for await (const line of lines) {
      const text = line.trim()
      if (text === '/exit' || text === '/quit') break
      if (text === '/clear') messages = [...start]
      else if (/^\/(schema|tools)(\s|$)/.test(text)) settings = await followed(engine, settings, text)
      else if (text === '/help')
        for (const [command, about] of Object.entries(chatCommands)) note(`${command.padEnd(28)}${about}`)
      else if (text.startsWith('/')) note(`unknown command ${text}; /help lists the commands`)
      else if (text !== '') {
        answering = new AbortController()
        const asked = { engine, flags, settings, signal: answering.signal }
        const first = messages.length === start.length
        const said = { role: 'user', ...questionAfter(first ? chunks : [], text) } as ChatMessage
        messages = await turn(asked, [...messages, said])
        answering = undefined
      }
      if (terminal) lines.prompt()
    }
  } finally {
    lines.close()
    await engine.close()
  }
}

/** Follows a command; one that fails changes nothing. */
async function followed(engine: AnyEngine, settings: ChatSettings, line: string): Promise<ChatSettings> {
  try {
    const { settings: next, told } = await changed(engine, settings, line)
    note(told, 'aside')
    return next
  } catch (error) {
    note(error instanceof UsageError ? error.message : asForetokenError(error).message)
    return settings
  }
}

interface Asked {
  readonly engine: AnyEngine
  readonly flags: Flags
  readonly settings: ChatSettings
  readonly signal: AbortSignal
}

/**
 * Answers the last message. Returns the conversation with the answer, partial if it was stopped; if
 * there is no answer, returns it without the last message.
 */
async function turn(asked: Asked, messages: ChatMessage[]): Promise<ChatMessage[]> {
  const writers: AnswerWriter[] = []
  const begin = () => {
    const writer = new AnswerWriter(answerTerminal(verifies(asked.flags)))
    writers.push(writer)
    return writer
  }
  const { choice } = asked.settings
  try {
    if (!choice) {
      const writer = begin()
      const done = await plainStep(asked, messages, writer)
      writer.finish()
      note(summaryLine(done), 'aside')
      return [...messages, { role: 'assistant', content: writer.text }]
    }
    const ask = async (now: readonly ChatMessage[], allowed: Choice): Promise<Step> => {
      const writer = begin()
      const step = await callingStep(asked, now, allowed, writer)
      // An answer without a call ends its line, even if it is empty.
      if (step.calls.length === 0) writer.finish()
      else writer.stop()
      note(summaryLine(step.done), 'aside')
      for (const call of step.calls) note(`${call.name} ${shownArguments(call.arguments)}`)
      return step
    }
    const said = await answerWithTools<ChatMessage>(messages, choice, ask, (_, result) => note(`= ${result}`))
    return said.at(-1)?.content === '' ? messages.slice(0, -1) : [...messages, ...said]
  } catch (error) {
    const { code, message } = asForetokenError(error)
    writers.at(-1)?.stop()
    if (code === 'aborted') note('stopped', 'aside')
    else note(code === 'context_exceeded' ? `${message}. /clear starts a new conversation` : message)
    const text = writers.map((writer) => writer.text).join('')
    return text === '' ? messages.slice(0, -1) : [...messages, { role: 'assistant', content: text }]
  }
}

function plainStep({ engine, flags, settings, signal }: Asked, messages: readonly ChatMessage[], writer: AnswerWriter) {
  const request = { ...generateOptions(flags, signal), prompt: messages, guide: settings.guide }
  return answered(engine, request, {
    onText: (text) => writer.push(text),
    onCorrection: (correction) => writer.correct(correction),
  })
}

/** Asks with tools. A call that is cut short is none. */
async function callingStep(
  { engine, flags, settings, signal }: Asked,
  messages: readonly ChatMessage[],
  choice: Choice,
  writer: AnswerWriter,
): Promise<Step & { readonly done: DoneEvent }> {
  const { guide } = settings
  const plan = planAnswer(engine, { prompt: messages, tools: playgroundTools, toolChoice: choice, guide })
  const texts: string[] = []
  let reader = plan.reader()
  let calls: { name: string; arguments: string }[] = []
  let thought = ''
  // Thoughts before a corrected token are read once more, and are not shown again.
  const thoughts = { shown: 0, read: 0 }
  const endThought = () => {
    if (thought.trim() !== '' && ++thoughts.read > thoughts.shown) {
      note(thought.trim(), 'aside')
      thoughts.shown++
    }
    thought = ''
  }
  /** Reads parts of the answer, and returns their content. */
  const read = (parts: ReturnType<typeof reader.push>) => {
    let content = ''
    for (const part of parts) {
      if (part.type === 'reasoning') thought += part.text
      else endThought()
      if (part.type === 'call') calls.push({ name: part.name, arguments: '' })
      if (part.type === 'arguments') calls[part.index]!.arguments += part.text
      if (part.type === 'content') content += part.text
    }
    return content
  }
  // The tools stay in the prompt of an answer that may not call them.
  const request = { ...generateOptions(flags, signal), prompt: messages, tools: playgroundTools, ...plan.options }
  const done = await answered(engine, request, {
    onText(text) {
      texts.push(text)
      writer.push(read(reader.push(text)))
    },
    onCorrection({ index }) {
      texts.length = index
      reader = plan.reader()
      calls = []
      thought = ''
      thoughts.read = 0
      const kept = texts.reduce((length, text) => length + read(reader.push(text)).length, 0)
      writer.correct({ index, offset: kept })
    },
  })
  const cut = done.finishReason !== 'stop'
  writer.push(read(reader.finish(cut)))
  endThought()
  if (cut && calls.length > 0) note('the call was cut short; allow longer answers with --max-tokens')
  return { text: writer.text, calls: cut ? [] : calls, done }
}

interface AnswerEvents {
  onText(text: string): void
  onCorrection(correction: CorrectionEvent): void
}

async function answered(
  engine: AnyEngine,
  request: Parameters<AnyEngine['submit']>[0],
  { onText, onCorrection }: AnswerEvents,
): Promise<DoneEvent> {
  let done: DoneEvent | undefined
  for await (const event of engine.submit(request)) {
    if (event.type === 'token') onText(event.text)
    if (event.type === 'correction') onCorrection(event)
    if (event.type === 'done') done = event
  }
  // An answer ends with this event, or fails.
  if (!done) throw new Error('the answer ended without its last event')
  return done
}
