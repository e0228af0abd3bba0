/** Checks prompts that programs pass in, before anything is done with them. */
import { fieldsOf, listOf, textOf, wrong } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import { flag } from '../base/fields.ts'
import type { PromptInput } from '../base/prompt.ts'

/** Throws `bad_argument` unless `prompt` is a text, token ids, or messages. */
export function checkPrompt(prompt: unknown): asserts prompt is PromptInput {
  if (typeof prompt === 'string') return
  if (!Array.isArray(prompt)) throw wrong('prompt', 'a text, a list of messages or a list of token ids', prompt)
  const kind = typeof prompt[0]
  for (let index = 0; index < prompt.length; index++) {
    const entry: unknown = prompt[index]
    if (typeof entry !== kind || (kind !== 'number' && (kind !== 'object' || entry === null)))
      throw wrong(`prompt[${index}]`, kind === 'number' ? 'a token id like the first entry' : 'a message', entry)
    if (kind === 'object') checkMessage(`prompt[${index}]`, entry as Readonly<Record<string, unknown>>)
  }
}

/** Returns `prompt` if it is a text, token ids, or messages. Throws `bad_argument` otherwise. */
export function promptOf(_: string, prompt: unknown): PromptInput {
  checkPrompt(prompt)
  return prompt
}

function checkMessage(name: string, { role, content, tool_calls }: Readonly<Record<string, unknown>>): void {
  if (typeof role !== 'string')
    throw new ForetokenError('bad_argument', `${name} has no role; give {role: 'user', content: 'text'}`)
  if (tool_calls !== undefined && tool_calls !== null)
    for (const [index, call] of listOf(`${name}.tool_calls`, tool_calls).entries())
      checkCall(`${name}.tool_calls[${index}]`, call)
  if (content === undefined || content === null || typeof content === 'string') return
  for (const part of listOf<{ readonly text?: unknown; readonly chunk?: unknown } | null>(`${name}.content`, content)) {
    if (typeof part !== 'object' || typeof part?.text !== 'string')
      throw wrong(`${name}.content`, "a text, or a list of {type: 'text', text: 'text'}", part)
    const { chunk } = part
    if (chunk !== undefined && chunk !== null) flag(`the chunk of a part of ${name}.content`, chunk)
  }
}

function checkCall(name: string, call: unknown): void {
  const called = fieldsOf(name, call as { function?: unknown })
  const { name: tool, arguments: given } = fieldsOf(`${name}.function`, called.function as Record<string, unknown>)
  textOf(`${name}.function.name`, tool)
  fieldsOf(`${name}.function.arguments`, given as object)
}
