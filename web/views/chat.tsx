/** The chat: questions and answers, each answer with its times. */
import { Fragment } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { answerHere, answerThere } from '../answering.ts'
import {
  type Conversation,
  type Conversations,
  changed,
  empty,
  firstStep,
  messagesOf,
  type Turn,
  withLastTurn,
} from '../conversations.ts'
import { type EndpointSettings, hostOf, placeOf } from '../endpoint-settings.ts'
import type { Ready, TabEngine } from '../engine.ts'
import type { PageError } from '../page-error.ts'
import type { Mode } from '../protocol.ts'
import { AnswerOptions } from './answer-options.tsx'
import { Composer } from './composer.tsx'
import { Tabs } from './tabs.tsx'
import { TurnView } from './turn-view.tsx'
import { useReread } from './use-reread.ts'

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
  const [fault, setFault] = useState<string | undefined>(undefined)
  const end = useRef<HTMLDivElement>(null)
  const here = place === 'tab'
  const key = here ? 'tab' : placeOf(endpoint.address)
  const shown = all.get(key) ?? empty
  const { turns, control, schema, tools } = shown
  const hasModel = here ? ready !== undefined : endpoint.model !== ''
  const can = hasModel && fault === undefined
  const predicts = here ? ready?.predictor !== false : shown.plainModel !== endpoint.model || endpoint.model === ''
  const chosen = predicts ? mode : 'exact'
  const reread = useReread(engine, ready, all.get('tab') ?? empty)

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
    const shaped = schema.trim() !== ''
    const model = here && ready ? { model: ready.name } : {}
    const turn: Turn = { question, steps: [firstStep], mode: chosen, ...model, times, shaped, notes: [], running: true }
    change((old) => ({ ...old, draft: '', control: answerControl, turns: [...old.turns, turn] }))
    const asked = { messages, mode: chosen, ...(shaped && { schema }) }
    const asking = { question: asked, tools, changeTurn, signal: answerControl.signal }
    try {
      if (here) await answerHere(engine, asking)
      else {
        const supported = await answerThere(endpoint, asking)
        if (supported === false) change((old) => ({ ...old, plainModel: endpoint.model }))
      }
    } catch (error) {
      const stopped = answerControl.signal.aborted
      const { message, code } = error as PageError
      const replaced = here && code === 'aborted' && 'stopped: the model was changed'
      changeTurn((turn) => ({ ...turn, failed: stopped ? 'stopped' : replaced || message }))
      // Only the endpoint knows what its schemas may be; what it refuses is shown beside the box, too.
      if (!stopped && !here && shaped && /schema|response_format/i.test(message)) setFault(message)
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
      <AnswerOptions
        schema={schema}
        tools={tools}
        fault={fault}
        engine={here && ready ? engine : undefined}
        onSchema={(schema) => change((old) => ({ ...old, schema }))}
        onTools={(tools) => change((old) => ({ ...old, tools }))}
        onFault={setFault}
        onQuestion={(question) => change((old) => (old.draft.trim() === '' ? { ...old, draft: question } : old))}
      />
      <div class="turns" role="log" aria-live="polite" aria-busy={control !== undefined}>
        {turns.map((turn, at) => (
          <Fragment key={at}>
            {at > 0 && turn.model !== turns[at - 1]?.model && <p class="notes">From here on, {turn.model} answers.</p>}
            <TurnView turn={turn} />
          </Fragment>
        ))}
        <div ref={end} class="end" />
      </div>
      {here && reread && (
        <p class="notes" role="status">
          {reread}
        </p>
      )}
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
          can
            ? 'Ask something. Enter sends.'
            : hasModel
              ? 'Mend the schema first.'
              : here
                ? 'Load the model first.'
                : 'Choose a model of the endpoint first.'
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
