/** Turns the tools of a body into the plan of an answer. */
import {
  type AnswerPlan,
  type ChatMessage,
  effortValues,
  type Guide,
  planAnswer,
  type ToolChoice,
  type ToolDefinition,
} from '../../src/index.ts'
import { ApiError } from '../errors.ts'
import type { PlanContext } from '../exchange.ts'
import type { ChatRequest } from '../schemas/chat.ts'
import type { ResponsesRequest } from '../schemas/responses.ts'
import { templateOptionsOf } from './options.ts'

type Body = ChatRequest | ResponsesRequest
type Tool = NonNullable<Body['tools']>[number]
type Choice = NonNullable<Body['tool_choice']>

/** An answer's plan, with the options of the template. */
export type ChatPlan = Omit<AnswerPlan, 'options'> & {
  readonly options: AnswerPlan['options'] & ReturnType<typeof templateOptionsOf>
}

interface Planning {
  readonly prompt: readonly ChatMessage[]
  /** How much the model should think. */
  readonly effort: string | null | undefined
  readonly guide: Guide | undefined
}

/**
 * Plans an answer to a conversation. Throws an ApiError of 400 for two tools of one name and for a
 * choice of a tool that is not there.
 */
export function planOf(
  body: Body,
  { engine, config }: Pick<PlanContext, 'engine' | 'config'>,
  { prompt, effort, guide }: Planning,
): ChatPlan {
  const tools = (body.tools ?? []).map(definitionOf)
  checkNames(tools)
  const given = templateOptionsOf(body)
  const values = { ...(effort && effortValues(engine.archive.tokenizer, effort)), ...given.templateValues }
  const template = { ...given, ...(Object.keys(values).length > 0 && { templateValues: values }) }
  const toolChoice = body.tool_choice ? choiceOf(body.tool_choice, tools) : undefined
  const toolFormat = body.foretoken?.tool_format ?? config.toolFormat
  const plan = planAnswer(engine, {
    tools,
    toolChoice,
    toolFormat,
    parallelToolCalls: body.parallel_tool_calls ?? undefined,
    reasoning: body.reasoning_format !== 'none',
    prompt,
    guide,
    ...template,
  })
  return { ...plan, options: { ...template, ...plan.options } }
}

/** Returns a tool of a body as the library has it. */
export function definitionOf(tool: Tool): ToolDefinition {
  const { name, description, parameters } = 'function' in tool ? tool.function : tool
  return { name, ...(description && { description }), ...(parameters && { parameters }) }
}

function checkNames(tools: readonly ToolDefinition[]): void {
  const names = new Set<string>()
  for (const [index, { name }] of tools.entries()) {
    if (names.has(name))
      throw new ApiError(400, `tools[${index}]: there are two tools named ${name}`, {
        code: 'invalid_value',
        param: `tools[${index}]`,
      })
    names.add(name)
  }
}

function choiceOf(choice: Choice, tools: readonly ToolDefinition[]): ToolChoice {
  const known = (name: string) => {
    if (tools.some((tool) => tool.name === name)) return name
    throw refusal(`tool_choice names ${name}, which is not among the ${tools.length} tools`)
  }
  if (typeof choice === 'string') {
    if (choice === 'required' && tools.length === 0) throw refusal('tool_choice is required, and there are no tools')
    return choice
  }
  if ('allowed_tools' in choice) {
    const { mode, tools: allowed } = choice.allowed_tools
    return allowedOf(mode, allowed.map(nameOf), known)
  }
  if ('mode' in choice) return allowedOf(choice.mode, choice.tools.map(nameOf), known)
  return { name: known(nameOf(choice)) }
}

function nameOf(named: { readonly name: string } | { readonly function: { readonly name: string } }): string {
  return 'function' in named ? named.function.name : named.name
}

function allowedOf(mode: 'auto' | 'required', names: readonly string[], known: (name: string) => string): ToolChoice {
  if (mode === 'required' && names.length === 0) throw refusal('tool_choice requires a call, and allows no tool')
  return { allowed: names.map(known), required: mode === 'required' }
}

function refusal(message: string): ApiError {
  return new ApiError(400, message, { code: 'invalid_value', param: 'tool_choice' })
}
