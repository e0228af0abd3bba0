/** `foretoken run`: answers one prompt and streams the answer. */
import { type ChatMessage, ForetokenError, type ScoredToken } from '../../node/index.ts'
import { AnswerWriter } from '../answer-writer.ts'
import { chunkParts, questionAfter } from '../chunks.ts'
import type { Flags } from '../flags.ts'
import { guideOfFlags } from '../guide.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { generateOptions, openAny, summaryLine, verifies } from '../session.ts'
import { answerTerminal, note, print, StatusLine } from '../terminal.ts'
import { readPrompt } from '../text.ts'
import { textOfOperands } from '../text-argument.ts'
import { tellOfLarger } from '../told.ts'

export async function run({ flags, operands }: Invocation, signal: AbortSignal): Promise<void> {
  const prompt = await promptOf(flags, operands)
  if (prompt === '')
    throw new ForetokenError('empty_prompt', 'the prompt is empty: pass it as an argument, as @FILE, or on stdin')
  if (flags.system !== undefined && flags.raw) throw new UsageError('--system cannot be combined with --raw')
  if (flags.chunk !== undefined && flags.raw) throw new UsageError('--chunk cannot be combined with --raw')
  const guide = await guideOfFlags(flags)
  const chunks = await chunkParts(flags.chunk)
  const { model, engine } = await openAny(flags, signal, { use: 'chat' })
  const line = new StatusLine()
  const top: (readonly ScoredToken[])[] = []
  let promptIds: readonly number[] = []
  const writer = new AnswerWriter(answerTerminal(verifies(flags)))
  try {
    const asked = { role: 'user', ...questionAfter(chunks, prompt) } as ChatMessage
    const before: ChatMessage[] = flags.system === undefined ? [] : [{ role: 'system', content: flags.system }]
    const messages = before.length === 0 && chunks.length === 0 ? prompt : [...before, asked]
    const options = {
      ...generateOptions(flags, signal),
      guide,
      onPrefill: (done: number, total: number) => line.show(`prompt  ${done} of ${total} tokens`),
    }
    for await (const event of engine.submit({ ...options, prompt: messages })) {
      if (event.type === 'prompt') promptIds = event.ids
      if (event.type === 'token') {
        if (event.topLogprobs) top.push(event.topLogprobs)
        line.clear()
        if (!flags.json) writer.push(event.text)
      }
      if (event.type === 'correction') {
        if (top.length > 0) top.length = event.index
        if (!flags.json) writer.correct(event)
      }
      if (event.type !== 'done') continue
      if (flags.json) {
        const { ids, text, finishReason, timings, memory, build } = event
        const { cached_tokens, placed_tokens, prefill, exact_from, verified, prefill_share } = event
        const shape = { prompt_ids: promptIds, ids, text, finish_reason: finishReason, top_logprobs: top }
        const cache = { cached_tokens, placed_tokens, prefill, exact_from, verified, prefill_share }
        print(JSON.stringify({ model, ...shape, timings, ...cache, memory, build }))
      } else {
        writer.finish()
        note(summaryLine(event), 'aside')
        await tellOfLarger(flags)
      }
    }
  } catch (error) {
    // Ends the line of a partial answer before the error is printed.
    if (!flags.json) writer.stop()
    throw error
  } finally {
    line.clear()
    await engine.close()
  }
}

async function promptOf({ prompt, 'prompt-file': file }: Flags, operands: readonly string[]): Promise<string> {
  const ways = [prompt !== undefined, file !== undefined, operands.length > 0].filter(Boolean).length
  if (ways > 1) throw new UsageError('use only one of a prompt argument, --prompt and --prompt-file')
  if (prompt !== undefined) return prompt
  if (file !== undefined) return readPrompt(file)
  if (operands.length > 0) return textOfOperands(operands)
  if (!process.stdin.isTTY) return readPrompt('-')
  throw new UsageError('run needs a prompt: foretoken "What is the capital of Norway?"')
}
