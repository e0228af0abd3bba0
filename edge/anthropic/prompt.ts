/** Makes a prompt of Anthropic's conversation, and plans its answer. */
import {
  type AnswerPlan,
  effortValues,
  type Guide,
  planAnswer,
  type TextService,
  type ToolChoice,
} from '../../src/index.ts'
import { type BodyCall, type BodyMessage, type BodyPart, messagesOf } from '../endpoints/messages.ts'
import { templateOptionsOf } from '../endpoints/options.ts'
import type { Plan } from '../exchange.ts'
import type { Conversation } from './schemas.ts'

/** A prompt, and how its answer is requested and read. */
export interface Prompted {
  readonly request: Pick<Plan['requests'][number], 'prompt'> & AnswerPlan['options']
  readonly plan: AnswerPlan
}

/**
 * Returns the prompt of a conversation and the plan of its answer. As the contract says, messages of
 * one role in a row are one turn, and the model continues a last message of the assistant. Throws an
 * ApiError and ForetokenErrors for a conversation or tools that do not fit together.
 */
export function promptedBy(body: Conversation, engine: TextService, guide?: Guide): Prompted {
  const { system, messages, tool_choice, chat_template_kwargs, foretoken } = body
  const marks = foretoken?.chunks === true
  const first = typeof system === 'string' ? system : system?.map((block) => partOf(block, marks))
  const before: BodyMessage[] = first?.length ? [{ role: 'system', content: first }] : []
  const turns = joined([...before, ...messages.flatMap((message, index) => turnsOf(message, index, marks))])
  const prompt = messagesOf(turns)
  const template = templateOptionsOf({
    chat_template_kwargs: { ...thinkingValues(body, engine), ...chat_template_kwargs },
    continue_final_message: turns.at(-1)?.role === 'assistant',
  })
  const plan = planAnswer(engine, {
    tools: (body.tools ?? []).map(({ name, description, input_schema: parameters }) => ({
      name,
      parameters,
      ...(description && { description }),
    })),
    toolChoice: tool_choice ? choiceOf(tool_choice) : undefined,
    parallelToolCalls: parallelOf(tool_choice),
    toolFormat: foretoken?.tool_format ?? undefined,
    guide,
    prompt,
    ...template,
  })
  return { request: { prompt, ...template, ...plan.options }, plan }
}

function choiceOf(choice: NonNullable<Conversation['tool_choice']>): ToolChoice {
  if (choice.type === 'tool') return { name: choice.name }
  return choice.type === 'any' ? 'required' : choice.type
}

/** Whether an answer may call several tools; undefined leaves it to how the model writes calls. */
function parallelOf(choice: Conversation['tool_choice']): boolean | undefined {
  if (!choice || choice.type === 'none') return undefined
  const { disable_parallel_tool_use: single } = choice
  return typeof single === 'boolean' ? !single : undefined
}

/** The model thinks if it is asked to, as the contract says. */
function thinkingValues({ thinking }: Conversation, { archive }: TextService): Readonly<Record<string, unknown>> {
  return thinking && thinking.type !== 'disabled' ? { enable_thinking: true } : effortValues(archive.tokenizer, 'none')
}

type Message = Conversation['messages'][number]

/** Returns a text as a part, which is a chunk if it has `cache_control` and the request `marks` such. */
function partOf({ text, cache_control }: { text: string; cache_control?: unknown }, marks: boolean): BodyPart {
  return { text, chunk: marks && isMark(cache_control) }
}

/** Returns whether a `cache_control` asks for anything: null and false are as absent. */
function isMark(control: unknown): boolean {
  return typeof control === 'object' && control !== null
}

/** Returns the turns of a message: the results of tools, which come first, and what is said. */
function turnsOf({ role, content }: Message, index: number, marks: boolean): BodyMessage[] {
  if (typeof content === 'string') return [{ role, content }]
  const results: BodyMessage[] = []
  const texts: BodyPart[] = []
  const thoughts: string[] = []
  const calls: BodyCall[] = []
  for (const [at, block] of content.entries()) {
    const path = `messages[${index}].content[${at}]`
    if (block.type === 'text') texts.push(partOf(block, marks))
    else if (block.type === 'thinking') thoughts.push(block.thinking)
    else if (block.type === 'tool_use')
      calls.push({
        ...{ id: block.id, name: block.name, arguments: block.input },
        ...{ path: `${path}.input`, idPath: `${path}.id` },
      })
    else if (block.type === 'tool_result') {
      const answers = { id: block.tool_use_id, path: `${path}.tool_use_id` }
      results.push({ role: 'tool', content: resultOf(block, marks), answers })
    }
  }
  if (results.length > 0 && texts.length === 0) return results
  const [text] = texts
  const alone = texts.length === 1 && text && !text.chunk
  const said = alone ? text.text : texts.length > 0 ? texts : calls.length > 0 ? null : ''
  const turn = { role, content: said, calls, ...(thoughts.length > 0 && { reasoning: thoughts.join('\n\n') }) }
  return [...results, turn]
}

type Result = Pick<
  Extract<Exclude<Message['content'], string>[number], { type: 'tool_result' }>,
  'content' | 'cache_control' | 'is_error'
>

/** Returns the content of a result of a tool. A mark on the whole marks each of its texts. */
function resultOf({ content, cache_control, is_error: failed }: Result, marks: boolean): string | BodyPart[] {
  if (failed && !content?.length) return 'The tool failed.'
  const whole = marks && isMark(cache_control)
  if (typeof content !== 'string')
    return (content ?? []).map((block) => partOf(whole ? { ...block, cache_control } : block, marks))
  return whole ? [{ text: content, chunk: true }] : content
}

/** Joins turns of one role: their texts become parts of one. Results of tools stay apart. */
function joined(turns: readonly BodyMessage[]): BodyMessage[] {
  const all: BodyMessage[] = []
  for (const turn of turns) {
    const last = all.at(-1)
    if (last && last.role === turn.role && turn.role !== 'tool') all[all.length - 1] = together(last, turn)
    else all.push(turn)
  }
  return all
}

function together(first: BodyMessage, second: BodyMessage): BodyMessage {
  const texts = [first, second].flatMap(({ content }): readonly BodyPart[] =>
    typeof content === 'string' ? (content === '' ? [] : [{ text: content }]) : (content ?? []),
  )
  const thoughts = [first.reasoning, second.reasoning].filter((thought) => thought)
  return {
    role: first.role,
    content: texts.length > 0 ? texts : first.content,
    calls: [...(first.calls ?? []), ...(second.calls ?? [])],
    ...(thoughts.length > 0 && { reasoning: thoughts.join('\n\n') }),
  }
}
