/** The chat: questions and answers, each answer with its times. */
import { useEffect, useRef, useState } from 'preact/hooks'
import {
  type Conversation,
  type Conversations,
  changed,
  correctedTurn,
  empty,
  messagesOf,
  type Turn,
  withLastTurn,
} from '../conversations.ts'
import { answerFrom } from '../endpoint.ts'
import { type EndpointSettings, hostOf, placeOf } from '../endpoint-settings.ts'
import type { Ready, TabEngine } from '../engine.ts'
import type { Mode } from '../protocol.ts'
import { Composer } from './composer.tsx'
import { Tabs } from './tabs.tsx'
import { TurnView } from './turn-view.tsx'

interface Props {
  readonly place: 'tab' | 'endpoint'
  readonly engine: TabEngine
  readonly ready: Ready | undefined
  readonly endpoint: EndpointSettings
}

const modes: readonly { value: Mode; text: string }[] = [
  { value: 'exact', text: 'Exact' },
  { value: 'predicted', text: 'Predicted' },
  { value: 'refined', text: 'Refined' },
]

const descriptions: Readonly<Record<Mode, string>> = {
  exact: 'The whole prompt runs through all layers before the first token.',
  predicted:
    'Most of the prompt runs through a third of the layers; the cache of the others is predicted. Faster, but the answer may differ.',
  refined:
    'Predicted for the first token, then made exact while the answer runs. Where the prediction was wrong, the answer is corrected.',
}

export function Chat({ place, engine, ready, endpoint }: Props) {
  const [all, setAll] = useState<Conversations>(new Map())
  const [mode, setMode] = useState<Mode>('exact')
  const end = useRef<HTMLDivElement>(null)
  const here = place === 'tab'
  const key = here ? 'tab' : placeOf(endpoint.address)
  const shown = all.get(key) ?? empty
  const { turns, control } = shown
  const can = here ? ready !== undefined : endpoint.model !== ''
  const predicts = here ? ready?.predictor !== false : shown.plainModel !== endpoint.model || endpoint.model === ''
  const chosen = predicts ? mode : 'exact'

  // Scrolls to a new question. The answer is followed only while its end is visible, so that a
  // reader further up is not disturbed.
  useEffect(() => end.current?.scrollIntoView({ block: 'nearest' }), [key, turns.length])
  useEffect(() => {
    const below = (end.current?.getBoundingClientRect().top ?? 0) - innerHeight
    if (control && below < 40) end.current?.scrollIntoView({ block: 'nearest' })
  }, [turns])

  /** Changes the conversation of this place, even if another is shown by then. */
  const change = (how: (old: Conversation) => Conversation) => setAll((old) => changed(old, key, how))
  const changeTurn = (how: (turn: Turn) => Turn) => change((old) => withLastTurn(old, how))

  const send = async () => {
    const question = shown.draft.trim()
    if (question === '' || !can || control) return
    const messages = [...messagesOf(shown), { role: 'user' as const, content: question }]
    const answerControl = new AbortController()
    const times = { begun: performance.now() }
    const turn: Turn = { question, early: '', late: '', mode: chosen, times, notes: [], running: true }
    change((old) => ({ ...old, draft: '', control: answerControl, turns: [...old.turns, turn] }))
    const asking = { messages, mode: chosen, changeTurn, signal: answerControl.signal }
    try {
      if (here) await answerHere(engine, asking)
      else {
        const supported = await answerThere(endpoint, asking)
        if (supported === false) change((old) => ({ ...old, plainModel: endpoint.model }))
      }
    } catch (error) {
      const stopped = answerControl.signal.aborted
      changeTurn((turn) => ({ ...turn, failed: stopped ? 'stopped' : (error as Error).message }))
    } finally {
      changeTurn((turn) => ({ ...turn, running: false }))
      change(({ control: _, ...old }) => old)
    }
  }

  return (
    <section class="chat" aria-label="Chat">
      <div class="row between">
        <Tabs
          label="How the prompt is read"
          value={chosen}
          onChange={setMode}
          options={modes.map((one) => ({ ...one, disabled: one.value !== 'exact' && !predicts }))}
        />
        {turns.length > 0 && (
          <button
            type="button"
            class="quiet"
            disabled={control !== undefined}
            onClick={() => change((old) => ({ ...old, turns: [] }))}
          >
            New chat
          </button>
        )}
      </div>
      <p class="notes">{predicts ? descriptions[chosen] : here ? noPredictor : plainEndpoint}</p>
      <div class="turns" role="log" aria-live="polite" aria-busy={control !== undefined}>
        {turns.map((turn, at) => (
          <TurnView key={at} turn={turn} />
        ))}
        <div ref={end} class="end" />
      </div>
      {turns.length === 0 && [...all].some(([other, { turns }]) => other !== key && turns.length > 0) && (
        <p class="notes">
          {here
            ? 'This is a separate chat: it does not include what was said at an endpoint.'
            : `This is a new chat with ${hostOf(endpoint.address)}: nothing that was said elsewhere is sent there.`}
        </p>
      )}
      <Composer
        key={key}
        text={shown.draft}
        placeholder={
          can ? 'Ask something. Enter sends.' : here ? 'Load the model first.' : 'Choose a model of the endpoint first.'
        }
        can={can}
        control={control}
        onText={(draft) => change((old) => ({ ...old, draft }))}
        onSend={() => void send()}
      />
    </section>
  )
}

const noPredictor = 'There is no predictor for this model: every prompt is read exactly.'
const plainEndpoint = 'This endpoint does not predict with this model: it reads every prompt its own way.'

interface Asking {
  readonly messages: Parameters<TabEngine['answer']>[0]
  readonly mode: Mode
  readonly changeTurn: (how: (turn: Turn) => Turn) => void
  readonly signal: AbortSignal
}

async function answerHere(engine: TabEngine, { messages, mode, changeTurn, signal }: Asking): Promise<void> {
  const onToken = (text: string, exact: boolean) => changeTurn((turn) => withText(turn, text, exact))
  const onCorrection = (offset: number) => changeTurn((turn) => correctedTurn(turn, offset))
  const figures = await engine.answer(messages, mode, { onToken, onCorrection }, signal)
  // TTFT as seen by the page; the engine's own if the answer had no token.
  changeTurn((turn) => ({
    ...turn,
    running: false,
    notes: unpredicted(mode, figures.prefill),
    times: { ttft: figures.ttft, ...turn.times, figures },
  }))
  if (figures.prefill === 'exact') return
  // Exact TTFT is measured, not estimated: the same prompt again, with as much of it cached.
  const exact = await engine.exactTtft(messages, figures.cachedTokens, signal)
  changeTurn((turn) => ({ ...turn, times: { ...turn.times, exact } }))
}

/** Returns whether the endpoint supports the mode; undefined if none was requested. */
async function answerThere(
  endpoint: EndpointSettings,
  { messages, mode, changeTurn, signal }: Asking,
): Promise<boolean | undefined> {
  const onText = (text: string) => changeTurn((turn) => withText(turn, text, true))
  const onCorrection = (text: string) =>
    changeTurn((turn) => {
      const kept = commonLength(turn.early + turn.late, text)
      return correctedTurn(turn, kept, text.slice(kept))
    })
  const answer = await answerFrom(endpoint, messages, mode, { onText, onCorrection }, signal)
  const { ttft, notes, prefill, predicts } = answer
  changeTurn((turn) => ({
    ...turn,
    notes: predicts ? [...notes, ...unpredicted(mode, prefill)] : notes,
    times: { ...turn.times, ...(ttft !== undefined && { ttft }), endpoint: answer },
  }))
  return predicts
}

/** Returns how many UTF-16 units two texts have in common at their beginnings. */
function commonLength(a: string, b: string): number {
  let length = 0
  while (length < a.length && a[length] === b[length]) length++
  return length
}

/** Returns a remark if the requested mode did not apply. */
function unpredicted(mode: Mode, prefill: Mode | undefined): string[] {
  if (mode === 'exact' || prefill !== 'exact') return []
  return ['Read exactly: the prompt is short or was cached, so nothing was left to predict.']
}

function withText(turn: Turn, text: string, exact: boolean): Turn {
  const times =
    turn.times.ttft === undefined ? { ...turn.times, ttft: performance.now() - turn.times.begun } : turn.times
  return exact ? { ...turn, times, late: turn.late + text } : { ...turn, times, early: turn.early + text }
}
