/** `foretoken chat`: runs a conversation in the terminal. */
import { createInterface } from 'node:readline/promises'
import { Readable } from 'node:stream'
import { type AnyEngine, asForetokenError, type Message } from '../../node/index.ts'
import { AnswerWriter } from '../answer-writer.ts'
import type { Flags } from '../flags.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { generateOptions, openAny, summaryLine, verifies } from '../session.ts'
import { answerTerminal, note } from '../terminal.ts'
import { decodePieces } from '../text.ts'

export async function chat({ flags, operands }: Invocation, signal: AbortSignal): Promise<void> {
  if (operands.length > 0) throw new UsageError('chat takes no prompt; type it after the chat starts')
  const { model, engine } = await openAny(flags, signal)
  const terminal = Boolean(process.stdin.isTTY)
  const lines = terminal
    ? createInterface({ input: process.stdin, output: process.stderr, terminal })
    : createInterface({ input: Readable.from(decodePieces(process.stdin, 'stdin')) })
  const start: Message[] = flags.system === undefined ? [] : [{ role: 'system', content: flags.system }]
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
    note(`${model}. /clear forgets the conversation, /exit or Ctrl-D ends it, Ctrl-C stops an answer.`, 'aside')
    lines.setPrompt('> ')
    lines.prompt()
  }
  try {
    for await (const line of lines) {
      const text = line.trim()
      if (text === '/exit' || text === '/quit') break
      if (text === '/clear') messages = [...start]
      else if (text.startsWith('/')) note(`unknown command ${text}; the commands are /clear and /exit`)
      else if (text !== '') {
        answering = new AbortController()
        messages = await turn(engine, flags, [...messages, { role: 'user', content: text }], answering.signal)
        answering = undefined
      }
      if (terminal) lines.prompt()
    }
  } finally {
    lines.close()
    await engine.close()
  }
}

/**
 * Answers the last message. Returns the conversation with the answer, partial if it was stopped; if
 * there is no answer, returns it without the last message.
 */
async function turn(engine: AnyEngine, flags: Flags, messages: Message[], signal: AbortSignal): Promise<Message[]> {
  const writer = new AnswerWriter(answerTerminal(verifies(flags)))
  try {
    for await (const event of engine.submit({ ...generateOptions(flags, signal), prompt: messages })) {
      if (event.type === 'token') writer.push(event.text)
      if (event.type === 'correction') writer.correct(event)
      if (event.type === 'done') {
        writer.finish()
        note(summaryLine(event), 'aside')
      }
    }
  } catch (error) {
    const { code, message } = asForetokenError(error)
    writer.stop()
    if (code === 'aborted') note('stopped', 'aside')
    else note(code === 'context_exceeded' ? `${message}. /clear starts a new conversation` : message)
    if (writer.text === '') return messages.slice(0, -1)
  }
  return [...messages, { role: 'assistant', content: writer.text }]
}
