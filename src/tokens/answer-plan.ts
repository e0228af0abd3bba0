/**
 * Plans an answer that may call tools or show thoughts: what the request needs, and how its text is
 * read. It depends on the model's template only.
 */
import { about, fieldsOf, listOf, oneOf, textOf, withArguments, wrong } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import { type Guide, guideKinds } from '../base/guide.ts'
import type { TokenizerSpec } from '../base/model.ts'
import type { PromptInput } from '../base/prompt.ts'
import type { ToolDefinition } from '../base/tool.ts'
import { markersOf, type ToolFormatName, toolFormatNames } from '../tools/format.ts'
import { ruleOf, thoughtfulGrammar, toolGrammar } from '../tools/grammar.ts'
import { AnswerReader } from '../tools/reader.ts'
import type { ThinkingTags } from '../tools/thinking.ts'
import { checkTools } from './checked-tools.ts'
import type { PromptOptions } from './prompt.ts'
import { generationPrompt, type TemplateValues, toolSupport } from './template.ts'
import type { Tokenizer } from './tokenizer.ts'

/** Which tools may be called: none, as the model decides, at least one, this one, or one of these. */
export type ToolChoice =
  | 'none'
  | 'auto'
  | 'required'
  | { readonly name: string }
  | { readonly allowed: readonly string[]; readonly required?: boolean }

/** What an answer may contain. */
export interface AnswerWishes {
  readonly tools?: readonly ToolDefinition[] | undefined
  /** Default `auto`. */
  readonly toolChoice?: ToolChoice | undefined
  /** Whether an answer may call several tools. Default true, except for the generic format. */
  readonly parallelToolCalls?: boolean | undefined
  /** How calls are written. Default: found from the model's template. */
  readonly toolFormat?: ToolFormatName | undefined
  /** The shape of an answer that calls no tools; thoughts come before it. */
  readonly guide?: Guide | undefined
  /** Whether thoughts are told apart from the answer. Default true. */
  readonly reasoning?: boolean | undefined
  /** As in the request. */
  readonly prompt?: PromptInput | undefined
  readonly templateValues?: TemplateValues | undefined
  readonly continueFinal?: boolean | undefined
}

/** How an answer is requested and read. */
export interface AnswerPlan {
  /** Options of the request. */
  readonly options: Pick<PromptOptions, 'tools' | 'toolFormat'> & {
    readonly showSpecial?: readonly number[]
    readonly guide?: Guide
  }
  /** Whether an answer has parts beside its text. */
  readonly hasParts: boolean
  /** The format of calls; undefined if no tool may be called. */
  readonly format: ToolFormatName | undefined
  /** Returns a reader of one answer. */
  reader(): AnswerReader
}

/** The model that answers, such as an engine. */
export interface PlannedModel {
  readonly tokenizer: Tokenizer
  /** Undefined if the engine was loaded without grammars; a service that does not say has them. */
  readonly guides?: unknown
  readonly archive: { readonly tokenizer: TokenizerSpec }
}

/**
 * Plans an answer. Throws `bad_argument` for malformed wishes, two tools of one name, and a choice of
 * a tool that is not there; `unsupported` if the model's format of calls is not known, or if a compact
 * guide or a grammar would have to stand beside thoughts or calls.
 */
export function planAnswer(model: PlannedModel, wishes: AnswerWishes): AnswerPlan {
  return withArguments('planAnswer', () => planned(model, fieldsOf('the wishes', wishes)))
}

function planned(model: PlannedModel, wishes: AnswerWishes): AnswerPlan {
  const { tools = [], toolChoice = 'auto', toolFormat } = wishes
  for (const name of ['parallelToolCalls', 'reasoning', 'continueFinal'] as const)
    if (!['boolean', 'undefined'].includes(typeof wishes[name])) throw wrong(name, 'true or false', wishes[name])
  const { guide: wanted } = wishes
  if (wanted !== undefined) about('guide', () => checkGuide(wanted))
  if (toolFormat !== undefined) oneOf('toolFormat', toolFormat, toolFormatNames)
  about('tools', () => checkTools(tools))
  const spec = model.archive.tokenizer
  const thinking = wishes.reasoning === false ? undefined : thinkingOf(spec, wishes)
  const chosen = about('toolChoice', () => chosenTools(tools, toolChoice))
  const read = thinking && thinking !== 'off' ? { thinking } : {}
  const shownThinking = read.thinking ? [read.thinking.open, read.thinking.close] : []
  const special = (text: string) => specialId(model.tokenizer, text)
  const shape = wanted && about('guide', () => ruleOf(wanted))
  if (chosen.tools.length === 0) {
    const showSpecial = specialIds(model.tokenizer, shownThinking)
    // Without thoughts the request's own guide holds.
    const isWrapped = read.thinking !== undefined && shape !== undefined
    if (isWrapped) refuseCompact(wishes.guide)
    const guide: Guide | undefined =
      isWrapped && read.thinking
        ? { kind: 'lark', grammar: thoughtfulGrammar(read.thinking, shape, special) }
        : wishes.guide
    const contents = wishes.guide && !isWrapped ? {} : read
    return {
      options: {
        ...(toolFormat && { toolFormat }),
        ...(showSpecial.length > 0 && { showSpecial }),
        ...(guide && { guide }),
      },
      hasParts: contents.thinking !== undefined,
      format: undefined,
      reader: () => new AnswerReader(contents),
    }
  }
  if (wishes.guide && shape === undefined && !chosen.required)
    throw new ForetokenError(
      'unsupported',
      'an answer that may call tools has no grammar of its own; leave one of them out',
      { argument: 'guide' },
    )
  if (!chosen.required) refuseCompact(wishes.guide)
  const { format } = toolSupport(spec, toolFormat)
  const showSpecial = specialIds(model.tokenizer, [...shownThinking, ...markersOf(format)])
  // A model that was not taught to call tools repeats its call up to the limit of the answer.
  const parallel = wishes.parallelToolCalls ?? format.name !== 'generic'
  const choice = { required: chosen.required, parallel, thinking: read.thinking, text: shape }
  const calls = { format, names: chosen.tools.map(({ name }) => name), required: chosen.required }
  // Without grammars a model may still call what it was told about; it is only not kept to it.
  const isFree = !chosen.required && !wishes.guide && 'guides' in model && model.guides === undefined
  return {
    options: {
      tools,
      toolFormat: format.name,
      ...(!isFree && {
        guide: { kind: 'lark', grammar: about('tools', () => toolGrammar(format, chosen.tools, choice, special)) },
      }),
      ...(showSpecial.length > 0 && { showSpecial }),
    },
    hasParts: true,
    format: format.name,
    reader: () => new AnswerReader({ ...read, calls }),
  }
}

/** Throws `bad_argument` unless a guide has the fields of its kind. Grammars are checked where they are compiled. */
function checkGuide(guide: Guide): void {
  const fields = fieldsOf<Record<string, unknown>>('guide', guide as unknown as Record<string, unknown>)
  const kind = oneOf('guide.kind', fields.kind, guideKinds)
  const { compact = false, schema } = fields
  if (typeof compact !== 'boolean') throw wrong('guide.compact', 'true or false', compact)
  if (kind === 'json_schema' && !['string', 'boolean'].includes(typeof schema))
    fieldsOf('guide.schema', schema as object)
  if (kind === 'regex') textOf('guide.regex', fields.regex)
  if (kind !== 'choice') return
  const choices = listOf<unknown>('guide.choices', fields.choices)
  if (choices.length === 0) throw new ForetokenError('bad_argument', 'guide.choices is empty; give at least one text')
  for (const [index, choice] of choices.entries()) textOf(`guide.choices[${index}]`, choice)
}

/** A grammar that holds thoughts or calls too has no place for the white space of its JSON. */
function refuseCompact(guide: Guide | undefined): void {
  if (guide && 'compact' in guide && guide.compact)
    throw new ForetokenError(
      'unsupported',
      'guide.compact is not possible in an answer that may think or call tools; leave it out, or turn these off',
      { argument: 'guide' },
    )
}

function chosenTools(tools: readonly ToolDefinition[], given: ToolChoice) {
  const choice = checkedChoice(given)
  if (choice === 'none') return { tools: [], required: false }
  if (choice === 'auto') return { tools, required: false }
  if (choice === 'required') {
    if (tools.length === 0) throw new ForetokenError('bad_argument', 'toolChoice is required, and there are no tools')
    return { tools, required: true }
  }
  const names = 'name' in choice ? [choice.name] : choice.allowed
  const missing = names.find((name) => !tools.some((tool) => tool.name === name))
  if (missing !== undefined)
    throw new ForetokenError(
      'bad_argument',
      `toolChoice names the tool ${String(missing).slice(0, 64)}, which is not among the tools`,
    )
  const required = 'name' in choice || choice.required === true
  if (required && names.length === 0)
    throw new ForetokenError('bad_argument', 'toolChoice requires a call, and allows no tool')
  return { tools: tools.filter(({ name }) => names.includes(name)), required }
}

function checkedChoice(choice: ToolChoice): ToolChoice {
  if (typeof choice !== 'object' || choice === null)
    return oneOf('toolChoice', choice, ['none', 'auto', 'required'] as const)
  const { name, allowed, required } = fieldsOf<Record<string, unknown>>('toolChoice', { ...choice })
  if (name !== undefined) return { name: textOf('toolChoice.name', name) }
  if (required !== undefined && typeof required !== 'boolean')
    throw wrong('toolChoice.required', 'true or false', required)
  const names = listOf<unknown>('toolChoice.allowed', allowed)
  return {
    allowed: names.map((one, index) => textOf(`toolChoice.allowed[${index}]`, one)),
    ...(required !== undefined && { required }),
  }
}

function specialId(tokenizer: Tokenizer, text: string): number | undefined {
  const id = tokenizer.idOf(text)
  return id !== undefined && tokenizer.isSpecial(id) ? id : undefined
}

function specialIds(tokenizer: Tokenizer, texts: readonly string[]): number[] {
  return texts.map((text) => specialId(tokenizer, text)).filter((id) => id !== undefined)
}

/** The marks that models put around their thoughts. */
const thinkingTags: readonly ThinkingTags[] = [
  { open: '<think>', close: '</think>' },
  { open: '[THINK]', close: '[/THINK]' },
]

/**
 * Returns how a model marks its thoughts, and whether its answer begins inside; `off` if its prompt
 * says that there are none, and undefined if its template knows of none.
 */
function thinkingOf(spec: TokenizerSpec, { prompt, templateValues, continueFinal }: AnswerWishes) {
  const tags = thinkingTags.find(({ close }) => spec.chatTemplate?.includes(close))
  if (!tags) return undefined
  const last = continueFinal && Array.isArray(prompt) ? prompt.at(-1) : undefined
  const before = last ? textIn(last) : generationPrompt(spec, templateValues).trimEnd()
  const [opened, closed] = [before.lastIndexOf(tags.open), before.lastIndexOf(tags.close)]
  if (last) return opened > closed ? { ...tags, begun: true } : before.trim() === '' ? { ...tags, begun: false } : 'off'
  if (before.endsWith(tags.close)) return 'off'
  return { ...tags, begun: before.endsWith(tags.open) }
}

function textIn({ content }: { readonly content?: unknown }): string {
  if (typeof content === 'string') return content
  return Array.isArray(content)
    ? content.map((part) => (typeof part?.text === 'string' ? part.text : '')).join('\n')
    : ''
}

/**
 * Returns the template values that ask a model to think as much as `effort` says, as far as its
 * template can: `none` turns thinking off. Throws `bad_argument`.
 */
export function effortValues(spec: TokenizerSpec, effort: string): TemplateValues {
  return withArguments('effortValues', () => {
    const { chatTemplate: source = '' } = fieldsOf('spec', spec)
    textOf('effort', effort)
    const reads = (name: string) => new RegExp(`\\b${name}\\b`).test(textOf('spec.chatTemplate', source))
    const named = reads('reasoning_effort') ? { reasoning_effort: effort } : {}
    if (effort !== 'none') return named
    const switches = ['enable_thinking', 'thinking'].filter((name) =>
      new RegExp(`(?<!\\.|['"])\\b${name}\\b(?!['"])`).test(source),
    )
    return { ...named, ...Object.fromEntries(switches.map((name) => [name, false])) }
  })
}
