/** Turns a prompt into the token ids that the model reads. */
import { ForetokenError } from '../base/errors.ts'
import { anyFields, type Checks, flag, nameOf } from '../base/fields.ts'
import type { TokenizerSpec } from '../base/model.ts'
import type { ChatMessage, PreparedPrompt, PromptInput } from '../base/prompt.ts'
import type { ToolDefinition } from '../base/tool.ts'
import { type ToolFormatName, toolFormatNames } from '../tools/format.ts'
import { checkTools } from './checked-tools.ts'
import type { Limits } from './jinja/budget.ts'
import { renderChat, type TemplateValues } from './template.ts'
import { type Tokenizer, toEnd } from './tokenizer.ts'

/** How a prompt is read. */
export interface PromptOptions {
  /** Treats the prompt as text to continue, without a chat template. */
  readonly raw?: boolean | undefined
  /**
   * Whether special tokens in a raw text are recognized; those in messages never are. Default true.
   */
  readonly parseSpecial?: boolean | undefined
  /** Whether a raw text begins with the model's BOS token, if the model uses one. Default true. */
  readonly addSpecial?: boolean | undefined
  /**
   * Values for the chat template, such as `enable_thinking`. `add_generation_prompt` is true unless
   * given here.
   */
  readonly templateValues?: TemplateValues | undefined
  /**
   * Whether the last message is the beginning of an answer that the model continues
   * (`continue_final_message` of transformers). Default false.
   */
  readonly continueFinal?: boolean | undefined
  /** Functions that the model may call. The chat template tells it, or else its system message. */
  readonly tools?: readonly ToolDefinition[] | undefined
  /** How calls are written. Default: found from the chat template. */
  readonly toolFormat?: ToolFormatName | undefined
}

/** The checks of `PromptOptions`. */
export const promptChecks: Checks<PromptOptions> = {
  raw: flag,
  parseSpecial: flag,
  addSpecial: flag,
  templateValues: anyFields(),
  continueFinal: flag,
  tools: (_, value) => {
    checkTools(value)
    return value
  },
  toolFormat: nameOf(toolFormatNames),
}

/** How a prompt is read by one engine. */
export interface ReadOptions extends PromptOptions {
  /** Most tokens of prompt and answer together. */
  readonly context: number
  /** Limits on what the chat template may cost. */
  readonly limits?: Limits | undefined
  /** Called when the template has been rendered. */
  readonly onTemplate?: (() => void) | undefined
}

/**
 * Returns the ids of a text to continue (`raw`), or of one user message or a conversation through
 * the model's chat template; ids are returned as they are. Throws `empty_prompt`, and
 * `context_exceeded` if no token of `context` is left for an answer.
 */
export function promptIds(
  tokenizer: Tokenizer,
  spec: TokenizerSpec,
  prompt: PromptInput,
  options: ReadOptions,
): number[] {
  return toEnd(promptSteps(tokenizer, spec, prompt, options))
}

/**
 * Does the same in steps, yielding about once a millisecond. A template is rendered in one step,
 * which its limits bound.
 */
export function* promptSteps(
  tokenizer: Tokenizer,
  spec: TokenizerSpec,
  prompt: PromptInput,
  options: ReadOptions,
): Generator<void, number[], void> {
  const { context } = options
  if (prompt.length === 0)
    throw new ForetokenError('empty_prompt', 'the prompt is empty; give it at least one character')
  if (isIds(prompt)) {
    if (prompt.length >= context) throw tooLong(String(prompt.length), context)
    return [...prompt]
  }
  const ids = yield* textSteps(tokenizer, spec, prompt, options)
  if (ids.length === 0)
    throw new ForetokenError('empty_prompt', 'the prompt has no tokens; give it at least one character')
  // A text that is too long was encoded only as far as needed to know that.
  if (ids.length >= context) throw tooLong(`more than ${context - 1}`, context)
  return ids
}

function* textSteps(
  tokenizer: Tokenizer,
  spec: TokenizerSpec,
  prompt: string | readonly ChatMessage[],
  options: ReadOptions,
): Generator<void, number[], void> {
  const {
    raw,
    parseSpecial = true,
    addSpecial = true,
    templateValues,
    continueFinal,
    tools,
    toolFormat,
    context,
    limits,
    onTemplate,
  } = options
  const most = context - 1
  if (raw) {
    if (typeof prompt !== 'string')
      throw new ForetokenError('bad_argument', 'a raw prompt is a text or token ids, not a list of messages')
    return yield* tokenizer.encodeSteps(prompt, { special: parseSpecial, bos: addSpecial, most })
  }
  const messages = typeof prompt === 'string' ? [{ role: 'user', content: prompt } as const] : prompt
  const text = renderChat(tokenizer.origin, spec, messages, {
    values: templateValues,
    limits,
    continueFinal,
    tools,
    toolFormat,
  })
  onTemplate?.()
  return yield* tokenizer.encodeMarked(text, { bos: true, most })
}

function tooLong(tokens: string, context: number): ForetokenError {
  return new ForetokenError(
    'context_exceeded',
    `the prompt has ${tokens} tokens and the context ${context}; shorten it, or load with a larger context`,
  )
}

/** Returns whether a prompt is a list of token ids. */
export function isIds(prompt: PromptInput): prompt is readonly number[] {
  return typeof prompt[0] === 'number'
}

/** Returns whether a prompt was made by `Engine.prepare`. */
export function isPrepared(prompt: PromptInput): prompt is PreparedPrompt {
  return typeof prompt !== 'string' && 'times' in prompt
}
