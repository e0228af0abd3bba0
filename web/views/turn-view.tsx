/** Shows a question, its answer with the calls in it, and its times. */
import { shownArguments } from '../../playground/arguments.ts'
import { type ShownCall, type Turn, type TurnStep, textOf } from '../conversations.ts'
import { TtftBars } from './ttft-bars.tsx'
import { useLater } from './use-later.ts'

export function TurnView({ turn }: { readonly turn: Turn }) {
  const stopped = turn.failed?.startsWith('stopped')
  const value = turn.shaped && !turn.running ? parsed(textOf(turn)) : undefined
  const view = useLater(() => import('./json-view.tsx'), value !== undefined)
  const JsonView = view.part?.JsonView
  const steps = turn.steps.map((step, at) => {
    const last = at === turn.steps.length - 1
    return <StepView key={at} step={step} isLast={last} running={last && turn.running} shaped={turn.shaped} />
  })
  return (
    <article class="turn">
      <p class="question">{turn.question}</p>
      <TtftBars times={turn.times} mode={turn.mode} running={turn.running} />
      {value && JsonView ? (
        <>
          <JsonView value={value.value} />
          <details class="raw">
            <summary>As JSON</summary>
            {steps}
          </details>
        </>
      ) : (
        steps
      )}
      {turn.notes.length > 0 && (
        <p class="notes" role="status">
          {turn.notes.join(' ')}
        </p>
      )}
      {turn.failed && (
        <p class={stopped ? 'notes' : 'failed'} role={stopped ? 'status' : 'alert'}>
          {turn.failed}
        </p>
      )}
    </article>
  )
}

interface StepProps {
  readonly step: TurnStep
  readonly isLast: boolean
  readonly running: boolean
  readonly shaped: boolean
}

function StepView({ step: { early, late, calls, corrected }, isLast, running, shaped }: StepProps) {
  const hasText = early + late !== ''
  return (
    <>
      {(hasText || (isLast && calls.length === 0)) && (
        <p class={shaped ? 'answer code' : 'answer'}>
          {early && (
            <span class="early" title="from a predicted cache">
              {early}
            </span>
          )}
          {corrected ? (
            <span class="moment corrected" title="corrected from here" />
          ) : (
            early && late && <span class="moment" title="from here the cache is exact" />
          )}
          {corrected ? <ins>{late}</ins> : late}
          {running && calls.length === 0 && <span class="caret" aria-hidden="true" />}
        </p>
      )}
      {corrected && (
        <p class="notes" role="status" aria-live="polite">
          Corrected: from the mark on, exact prefill gives another answer.
        </p>
      )}
      {calls.length > 0 && (
        <ul class="calls" aria-label="Calls of tools">
          {calls.map((call, at) => (
            <CallView key={at} call={call} />
          ))}
        </ul>
      )}
    </>
  )
}

function CallView({ call: { name, arguments: values, result } }: { readonly call: ShownCall }) {
  return (
    <li class="call">
      <span class="tool">
        <span class="unseen">Call of </span>
        {name}
      </span>
      <code>{shownArguments(values)}</code>
      {result !== undefined && (
        <output class={result.startsWith('error:') ? 'failed' : ''}>
          <span class="unseen">Result: </span>
          {result}
        </output>
      )}
    </li>
  )
}

/** Returns the value of a complete answer in JSON. */
function parsed(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) }
  } catch {
    return undefined
  }
}
