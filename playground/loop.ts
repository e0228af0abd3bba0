/** Runs the tools that a model calls, and lets it go on with their results. */
import type { ChatMessage, Message, ToolCall } from '../src/index.ts'
import { argumentsOf, type Call, resultOf } from './tools.ts'

/** One answer of a model: its text, and the calls that are complete. */
export interface Step {
  readonly text: string
  readonly calls: readonly Omit<Call, 'id'>[]
}

/** Whether the model may call a tool in this step, must, or may not. */
export type Choice = 'auto' | 'required' | 'none'

/** Most steps of one answer. The last one may not call, so that there is an answer. */
export const mostSteps = 5

/**
 * Asks until the model answers without a call. `choice` is that of the first step. Returns the
 * messages that follow the question, the answer last. Rejects with what `ask` rejects.
 */
export async function answerWithTools<M extends ChatMessage>(
  messages: readonly M[],
  choice: Choice,
  ask: (messages: readonly (M | Message)[], choice: Choice) => Promise<Step>,
  onResult: (at: number, result: string) => void,
): Promise<Message[]> {
  const said: Message[] = []
  for (let step = 1; ; step++) {
    const last = step === mostSteps
    const { text, calls } = await ask([...messages, ...said], last ? 'none' : step === 1 ? choice : 'auto')
    if (last || calls.length === 0) return [...said, { role: 'assistant', content: text }]
    const before = [...messages, ...said].reduce((sum, { tool_calls }) => sum + (tool_calls?.length ?? 0), 0)
    const numbered = calls.map((call, at) => ({ ...call, id: idOf(before + at) }))
    said.push({ role: 'assistant', content: text, tool_calls: numbered.map(callOf) })
    for (const [at, call] of numbered.entries()) {
      const content = resultOf(call)
      said.push({ role: 'tool', tool_call_id: call.id, content })
      onResult(at, content)
    }
  }
}

/** Returns an id of nine letters and digits, which is what the strictest templates ask for. */
function idOf(number: number): string {
  return `call${String(number).padStart(5, '0')}`
}

/** Arguments that are no object are shown to the model as none; the result says what is wrong. */
function callOf({ id, name, arguments: text }: Call): ToolCall {
  return { id, type: 'function', function: { name, arguments: objectIn(text) } }
}

function objectIn(text: string): Readonly<Record<string, unknown>> {
  try {
    return argumentsOf(text)
  } catch {
    return {}
  }
}
