/** Shows a question, its answer and its times. */
import type { Turn } from '../conversations.ts'
import { TtftBars } from './ttft-bars.tsx'

export function TurnView({ turn }: { readonly turn: Turn }) {
  const stopped = turn.failed === 'stopped'
  return (
    <article class="turn">
      <p class="question">{turn.question}</p>
      <TtftBars times={turn.times} mode={turn.mode} running={turn.running} />
      <p class="answer">
        {turn.early && (
          <span class="early" title="from a predicted cache">
            {turn.early}
          </span>
        )}
        {turn.corrected ? (
          <span class="moment corrected" title="corrected from here" />
        ) : (
          turn.early && turn.late && <span class="moment" title="from here the cache is exact" />
        )}
        {turn.corrected ? <ins>{turn.late}</ins> : turn.late}
        {turn.running && <span class="caret" aria-hidden="true" />}
      </p>
      {turn.corrected && (
        <p class="notes" role="status" aria-live="polite">
          Corrected: from the mark on, exact prefill gives another answer.
        </p>
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
