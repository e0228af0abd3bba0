/** Answers one turn of a chat, here or at an endpoint, and runs the tools that the model calls. */
import type { Message } from '../src/index.ts'
import { correctedStep, firstStep, type ToolUse, type Turn, withLastStep } from './conversations.ts'
import { answerFrom } from './endpoint.ts'
import type { EndpointSettings } from './endpoint-settings.ts'
import type { AnswerEvents, TabEngine } from './engine.ts'
import type { PageError } from './page-error.ts'
import type { Mode, Question } from './protocol.ts'

export interface Asking {
  readonly question: Question
  readonly tools: ToolUse
  readonly changeTurn: (how: (turn: Turn) => Turn) => void
  readonly signal: AbortSignal
}

/** What one answer was: its text, its calls, and whether it was cut short. */
interface Answered {
  readonly text: string
  readonly calls: readonly { readonly name: string; readonly arguments: string }[]
}

/** Asks once, and shows the answer in the last step of the turn. */
type Ask = (question: Question, events: AnswerEvents) => Promise<{ readonly cut: boolean }>

export async function answerHere(engine: TabEngine, asking: Asking): Promise<void> {
  const { changeTurn, signal } = asking
  let first: Question | undefined
  let cachedTokens = 0
  let predicted = false
  await answerTurn(asking, async (question, events) => {
    const figures = await engine.answer(question, events, signal)
    // TTFT as seen by the page; the engine's own if the answer had no token.
    changeTurn((turn) => ({
      ...turn,
      notes: unpredicted(question.mode, figures.prefill),
      times: { ttft: figures.ttft, ...turn.times, figures: first ? (turn.times.figures ?? figures) : figures },
    }))
    if (!first) {
      first = question
      cachedTokens = figures.cachedTokens
      predicted = figures.prefill !== 'exact'
    }
    return figures
  })
  changeTurn((turn) => ({ ...turn, running: false }))
  if (!first || !predicted) return
  // Exact TTFT is measured, not estimated: the same prompt again, with as much of it cached.
  const exact = await engine.exactTtft(first, cachedTokens, signal).catch((error: PageError) => {
    // The answer is complete, whatever ended the measurement.
    if (error.code === 'aborted') return undefined
    throw error
  })
  if (exact !== undefined) changeTurn((turn) => ({ ...turn, times: { ...turn.times, exact } }))
}

/** Returns what the next question of a conversation begins with. */
export async function beginningOf(messages: readonly Message[], tools: ToolUse): Promise<Omit<Question, 'mode'>> {
  if (tools === 'off') return { messages }
  return { messages, tools: (await import('../playground/tools.ts')).playgroundTools, choice: tools }
}

/** Returns whether the endpoint supports the mode; undefined if none was requested. */
export async function answerThere(endpoint: EndpointSettings, asking: Asking): Promise<boolean | undefined> {
  const { changeTurn, signal } = asking
  let supported: boolean | undefined
  await answerTurn(asking, async (question, events) => {
    const answer = await answerFrom(endpoint, question, events, signal)
    const { ttft, notes, prefill, predicts, cut } = answer
    supported ??= predicts
    changeTurn((turn) => ({
      ...turn,
      notes: predicts ? [...notes, ...unpredicted(question.mode, prefill)] : notes,
      times: turn.times.endpoint
        ? turn.times
        : { ...turn.times, ...(ttft !== undefined && { ttft }), endpoint: answer },
    }))
    return { cut }
  })
  return supported
}

/** Asks once, or until the model calls no more tools. */
async function answerTurn({ question, tools, changeTurn }: Asking, ask: Ask): Promise<void> {
  if (tools === 'off') {
    await answeredStep(question, changeTurn, ask)
    return
  }
  // Loaded by the first question with tools.
  const [{ answerWithTools }, { playgroundTools }] = await Promise.all([
    import('../playground/loop.ts'),
    import('../playground/tools.ts'),
  ])
  let step = 0
  const said = await answerWithTools(
    question.messages,
    tools,
    (messages, choice) => {
      if (step++ > 0) changeTurn((turn) => ({ ...turn, steps: [...turn.steps, firstStep] }))
      return answeredStep({ ...question, messages, tools: playgroundTools, choice }, changeTurn, ask)
    },
    (at, result) =>
      changeTurn((turn) =>
        withLastStep(turn, (one) => ({
          ...one,
          calls: one.calls.map((call, index) => (index === at ? { ...call, result } : call)),
        })),
      ),
  )
  changeTurn((turn) => ({ ...turn, said }))
}

async function answeredStep(question: Question, changeTurn: Asking['changeTurn'], ask: Ask): Promise<Answered> {
  let text = ''
  const calls: { name: string; arguments: string }[] = []
  const places = new Map<number, number>()
  const { cut } = await ask(question, {
    onText(more, exact) {
      text += more
      changeTurn((turn) => withText(turn, more, exact))
    },
    onCorrection(whole) {
      text = whole
      calls.length = 0
      places.clear()
      changeTurn((turn) => withLastStep(turn, (step) => correctedStep(step, whole)))
    },
    onCall(index, name) {
      places.set(index, calls.push({ name, arguments: '' }) - 1)
      changeTurn((turn) => withFirst(withLastStep(turn, (step) => ({ ...step, calls: [...calls] }))))
    },
    onArguments(index, more) {
      const at = places.get(index)
      const call = at === undefined ? undefined : calls[at]
      if (at === undefined || !call) return
      calls[at] = { ...call, arguments: call.arguments + more }
      changeTurn((turn) => withLastStep(turn, (step) => ({ ...step, calls: [...calls] })))
    },
  })
  if (!cut) return { text, calls }
  const note =
    calls.length > 0
      ? 'The call was cut short, and was not run.'
      : question.schema !== undefined && 'The answer was cut short, so its JSON is not complete.'
  if (note) changeTurn((turn) => ({ ...turn, notes: [...turn.notes, note] }))
  return { text, calls: [] }
}

/** Returns a remark if the requested mode did not apply. */
function unpredicted(mode: Mode, prefill: Mode | undefined): string[] {
  if (mode === 'exact' || prefill !== 'exact') return []
  return ['Read exactly: the prompt is short or was cached, so nothing was left to predict.']
}

function withText(turn: Turn, text: string, exact: boolean): Turn {
  return withFirst(
    withLastStep(turn, (step) => (exact ? { ...step, late: step.late + text } : { ...step, early: step.early + text })),
  )
}

/** Notes when the first part of an answer came. */
function withFirst(turn: Turn): Turn {
  if (turn.times.ttft !== undefined) return turn
  return { ...turn, times: { ...turn.times, ttft: performance.now() - turn.times.begun } }
}
