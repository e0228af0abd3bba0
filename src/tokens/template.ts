/** A conversation as the model was taught to read it: the chat template of its tokenizer, by `@huggingface/jinja`. */
import { ForetokenError } from '../errors.ts'
import type { Message, TokenizerSpec } from '../types.ts'
import { type Program, parseTemplate, renderTemplate } from './jinja.ts'
import type { Tokenizer } from './tokenizer.ts'

/** Longest template, and longest text that one may make, in characters. */
const maxTemplate = 1 << 20
const maxText = 1 << 24

/** The text of a conversation, with the beginning of the answer. Throws `unsupported`, `bad_model`, `bad_argument`. */
export function applyTemplate(spec: TokenizerSpec, messages: readonly Message[]): string {
  const { chatTemplate } = spec
  if (chatTemplate === undefined)
    throw new ForetokenError('unsupported', 'this model has no chat template; give it a raw prompt (--raw)')
  if (chatTemplate.length > maxTemplate)
    throw new ForetokenError(
      'bad_model',
      `the chat template has ${chatTemplate.length} characters; at most ${maxTemplate} are read`,
    )
  const text = render(chatTemplate, {
    messages,
    add_generation_prompt: true,
    bos_token: spec.bosToken ?? '',
    eos_token: spec.eosToken ?? '',
  })
  if (text.length > maxText)
    throw new ForetokenError(
      'bad_model',
      `the chat template made ${text.length} characters; at most ${maxText} are taken`,
    )
  return text
}

function render(source: string, values: Record<string, unknown>): string {
  let template: Program
  try {
    template = parseTemplate(source)
  } catch (cause) {
    throw new ForetokenError('bad_model', `the chat template can't be parsed: ${(cause as Error).message}`, { cause })
  }
  try {
    return renderTemplate(template, values)
  } catch (cause) {
    if (cause instanceof ForetokenError) throw cause
    throw new ForetokenError(
      'bad_model',
      `the model's chat template refuses this conversation, or failed: ${(cause as Error).message}`,
      { cause },
    )
  }
}

/**
 * The ids of a conversation. Special tokens are those that the template wrote: where a message holds the text of one,
 * it is read as the plain text it is, so that nobody can end a turn or speak for another role by writing so.
 */
export function encodeChat(
  tokenizer: Tokenizer,
  spec: TokenizerSpec,
  messages: readonly Message[],
  onTemplate?: () => void,
): number[] {
  const text = applyTemplate(spec, messages)
  onTemplate?.()
  const suspicious = tokenizer.specialTexts.some((special) => messages.some(({ content }) => content.includes(special)))
  const ids = suspicious ? encodeApart(tokenizer, spec, messages, text) : tokenizer.encode(text, { special: true })
  const bos = spec.addBos && spec.bosToken !== undefined ? tokenizer.idOf(spec.bosToken) : undefined
  return bos !== undefined && ids[0] !== bos ? [bos, ...ids] : ids
}

/** Finds out what the template wrote itself by rendering marks in place of the messages, and reads only that as special. */
function encodeApart(tokenizer: Tokenizer, spec: TokenizerSpec, messages: readonly Message[], text: string): number[] {
  const mark = (index: number) => `\uE000${index}\uE001`
  const marked = applyTemplate(
    spec,
    messages.map((message, index) => ({ ...message, content: mark(index) })),
  )
  // Even parts are the template's, odd ones are numbers of messages.
  const parts = marked.split(/\uE000(\d+)\uE001/)
  for (const content of [
    (index: number) => messages[index]!.content,
    (index: number) => messages[index]!.content.trim(),
  ]) {
    const whole = parts.map((part, i) => (i % 2 === 0 ? part : content(Number(part)))).join('')
    if (whole === text) return encodeParts(tokenizer, parts, content)
  }
  throw new ForetokenError(
    'bad_argument',
    "a message holds the text of a special token, and this model's template changes messages, so that they can't be kept apart; remove it",
  )
}

function encodeParts(tokenizer: Tokenizer, parts: readonly string[], content: (index: number) => string): number[] {
  const specials = [...tokenizer.specialTexts].sort((a, b) => b.length - a.length)
  const pattern = new RegExp(`(${specials.map((special) => special.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')})`)
  const ids: number[] = []
  let plain = ''
  const flush = () => {
    ids.push(...tokenizer.encode(plain))
    plain = ''
  }
  parts.forEach((part, i) => {
    if (i % 2 === 1) plain += content(Number(part))
    else
      part.split(pattern).forEach((piece, j) => {
        if (j % 2 === 0) plain += piece
        else {
          flush()
          ids.push(tokenizer.idOf(piece)!)
        }
      })
  })
  flush()
  return ids
}
