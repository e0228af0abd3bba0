/** Questions and answers, each answer with its times. */
import { useEffect, useRef, useState } from 'preact/hooks'
import type { Message } from '../../src/index.ts'
import { answerFrom } from '../endpoint.ts'
import type { Ready, TabEngine } from '../engine.ts'
import type { Mode } from '../protocol.ts'
import type { EndpointSettings } from './endpoint-panel.tsx'
import { Tabs } from './tabs.tsx'
import { type Times, TtftBars } from './ttft-bars.tsx'

interface Turn {
  readonly question: string
  /** Shown from a predicted cache, and from an exact one. */
  readonly early: string
  readonly late: string
  readonly mode: Mode
  readonly times: Times
  readonly failed?: string
  readonly running: boolean
}

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

const says: Readonly<Record<Mode, string>> = {
  exact: 'The whole prompt runs through all layers before the first token.',
  predicted:
    'Most of the prompt runs through a third of the layers; the cache of the others is predicted. Sooner, and not quite the model.',
  refined: 'Predicted for the first token, and made exact while the answer runs.',
}

export function Chat({ place, engine, ready, endpoint }: Props) {
  const [turns, setTurns] = useState<readonly Turn[]>([])
  const [mode, setMode] = useState<Mode>('exact')
  const [text, setText] = useState('')
  const [control, setControl] = useState<AbortController | undefined>(undefined)
  const end = useRef<HTMLDivElement>(null)
  const here = place === 'tab'
  const can = here ? ready !== undefined : endpoint.model !== ''
  const predicts = !here || ready?.predictor !== false
  const chosen = predicts ? mode : 'exact'

  // A new question is shown; its answer is followed while its end is in sight, so that who reads further up is left there.
  useEffect(() => end.current?.scrollIntoView({ block: 'nearest' }), [turns.length])
  useEffect(() => {
    const below = (end.current?.getBoundingClientRect().top ?? 0) - innerHeight
    if (control && below < 40) end.current?.scrollIntoView({ block: 'nearest' })
  }, [turns])

  const change = (how: (turn: Turn) => Turn) =>
    setTurns((all) => all.map((turn, at) => (at === all.length - 1 ? how(turn) : turn)))

  const send = async () => {
    const question = text.trim()
    if (question === '' || !can || control) return
    const messages = [...conversation(turns), { role: 'user' as const, content: question }]
    const own = new AbortController()
    setControl(own)
    setText('')
    setTurns([
      ...turns,
      { question, early: '', late: '', mode: chosen, times: { begun: performance.now() }, running: true },
    ])
    try {
      if (here) await answerHere(engine, messages, chosen, change, own.signal)
      else await answerThere(endpoint, messages, chosen, change, own.signal)
    } catch (error) {
      const stopped = own.signal.aborted
      change((turn) => ({ ...turn, failed: stopped ? 'stopped' : (error as Error).message }))
    } finally {
      change((turn) => ({ ...turn, running: false }))
      setControl(undefined)
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
          <button type="button" class="quiet" disabled={control !== undefined} onClick={() => setTurns([])}>
            New chat
          </button>
        )}
      </div>
      <p class="notes">{predicts ? says[chosen] : 'This model has no predictor here: every prompt is read exactly.'}</p>
      <div class="turns" role="log" aria-live="polite" aria-busy={control !== undefined}>
        {turns.map((turn, at) => (
          <article key={at} class="turn">
            <p class="question">{turn.question}</p>
            <TtftBars times={turn.times} mode={turn.times.figures?.prefill ?? turn.mode} running={turn.running} />
            <p class="answer">
              {turn.early && (
                <span class="early" title="from a predicted cache">
                  {turn.early}
                </span>
              )}
              {turn.early && turn.late && <span class="moment" title="from here on the cache is exact" />}
              {turn.late}
              {turn.running && <span class="caret" aria-hidden="true" />}
            </p>
            {turn.failed && (
              <p
                class={turn.failed === 'stopped' ? 'notes' : 'failed'}
                role={turn.failed === 'stopped' ? 'status' : 'alert'}
              >
                {turn.failed}
              </p>
            )}
          </article>
        ))}
        <div ref={end} class="end" />
      </div>
      <form
        class="ask"
        onSubmit={(event) => {
          event.preventDefault()
          void send()
        }}
      >
        <label class="unseen" for="question">
          Your message
        </label>
        <textarea
          id="question"
          rows={2}
          placeholder={
            can
              ? 'Ask something. Enter sends.'
              : here
                ? 'Load the model first.'
                : 'Choose a model of the endpoint first.'
          }
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
            event.preventDefault()
            void send()
          }}
        />
        {control ? (
          <button type="button" class="primary" onClick={() => control.abort()}>
            Stop
          </button>
        ) : (
          <button type="submit" class="primary" disabled={!can || text.trim() === ''}>
            Send
          </button>
        )}
      </form>
    </section>
  )
}

type Change = (how: (turn: Turn) => Turn) => void

async function answerHere(
  engine: TabEngine,
  messages: readonly Message[],
  mode: Mode,
  change: Change,
  signal: AbortSignal,
) {
  const onToken = (text: string, exact: boolean) => change((turn) => withText(turn, text, exact))
  const figures = await engine.answer(messages, mode, { onToken }, signal)
  // As the page saw it; an answer without a token has none.
  change((turn) => ({ ...turn, running: false, times: { ttft: figures.ttft, ...turn.times, figures } }))
  // Where the cache held nearly all, nothing was predicted.
  if (figures.prefill === 'exact') return
  // What exact takes is measured, not guessed: the same prompt once more, and as much of it cached.
  const exact = await engine.exactTtft(messages, figures.cachedTokens, signal)
  change((turn) => ({ ...turn, times: { ...turn.times, exact } }))
}

async function answerThere(
  endpoint: EndpointSettings,
  messages: readonly Message[],
  mode: Mode,
  change: Change,
  signal: AbortSignal,
) {
  const url = endpoint.url.replace(/\/+$/, '')
  const prefill = mode === 'exact' ? undefined : mode
  const told = await answerFrom(
    { ...endpoint, url, prefill },
    messages,
    (text) => change((turn) => withText(turn, text, true)),
    signal,
  )
  change((turn) => ({ ...turn, times: { ...turn.times, ttft: told.ttft, endpoint: told } }))
}

function withText(turn: Turn, text: string, exact: boolean): Turn {
  const times =
    turn.times.ttft === undefined ? { ...turn.times, ttft: performance.now() - turn.times.begun } : turn.times
  return exact ? { ...turn, times, late: turn.late + text } : { ...turn, times, early: turn.early + text }
}

function conversation(turns: readonly Turn[]): Message[] {
  return turns
    .filter(({ early, late }) => early + late !== '')
    .flatMap(({ question, early, late }) => [
      { role: 'user' as const, content: question },
      { role: 'assistant' as const, content: early + late },
    ])
}
