/** Shows TTFT as a bar that grows while waiting, next to measured exact TTFT. */
import { useEffect, useState } from 'preact/hooks'
import type { Mode } from '../protocol.ts'
import type { Times } from '../times.ts'
import { megabytes, milliseconds } from './units.ts'

export function TtftBars({
  times,
  mode,
  running,
}: {
  readonly times: Times
  readonly mode: Mode
  readonly running: boolean
}) {
  const waiting = running && times.ttft === undefined
  const now = useClock(waiting)
  // An answer that failed or was stopped before its first token has no TTFT.
  if (!waiting && times.ttft === undefined) return null
  const shown = times.ttft ?? Math.max(0, now - times.begun)
  const longest = Math.max(shown, times.exact ?? 0, 1)
  return (
    <div class="times">
      <Bar name={times.figures?.prefill ?? nameAt(times, mode)} ms={shown} share={shown / longest} live={waiting} />
      {times.exact !== undefined && <Bar name="exact" ms={times.exact} share={times.exact / longest} live={false} />}
      <p class="notes figures">{figuresOf(times).join(' · ')}</p>
    </div>
  )
}

/** Returns the label of a bar; an endpoint that does not report its mode has none. */
function nameAt({ endpoint }: Times, mode: Mode): string {
  return endpoint ? (endpoint.prefill ?? 'endpoint') : mode
}

function Bar({
  name,
  ms,
  share,
  live,
}: {
  readonly name: string
  readonly ms: number
  readonly share: number
  readonly live: boolean
}) {
  return (
    <div class={`bar ${name}${live ? ' live' : ''}`}>
      <span class="name">{name}</span>
      <span class="track" aria-hidden="true">
        <span class="fill" style={{ width: `${Math.min(100, 100 * share)}%` }} />
      </span>
      {/* A screen reader reads the number once, not while it grows. */}
      <span class="value" aria-hidden={live}>
        {milliseconds(ms)}
      </span>
    </div>
  )
}

function figuresOf({ figures, endpoint, exact, ttft }: Times): string[] {
  if (endpoint)
    return [
      ...(endpoint.tokensPerSecond > 0 ? [`${endpoint.tokensPerSecond.toFixed(1)} chunks/s`] : []),
      ...(endpoint.prefill ? [momentOf(endpoint.prefill, endpoint.exactFrom)] : []),
      ...(endpoint.route ? [`route: ${endpoint.route}`] : []),
    ]
  if (!figures) return []
  const { promptTokens, cachedTokens, tokens, cut, tokensPerSecond, memory, prefill, exactFrom } = figures
  return [
    ...(exact !== undefined && ttft !== undefined ? [comparison(ttft, exact)] : []),
    `${promptTokens} prompt tokens${cachedTokens > 0 ? `, ${cachedTokens} from the cache` : ''}`,
    ...(tokensPerSecond > 0 ? [`${tokensPerSecond.toFixed(1)} tokens/s`] : []),
    momentOf(prefill, exactFrom),
    ...(cut ? [`cut at ${tokens} tokens`] : []),
    megabytes(memory),
  ]
}

function momentOf(prefill: Mode, exactFrom: number | undefined): string {
  if (prefill === 'exact') return 'exact'
  return exactFrom === undefined ? 'predicted to the end' : `exact from token ${exactFrom + 1}`
}

function comparison(ttft: number, exact: number): string {
  const [factor, word] = exact >= ttft ? [exact / ttft, 'faster'] : [ttft / exact, 'slower']
  return factor < 1.05 ? 'as fast as exact' : `${factor.toFixed(1)}x ${word} than exact`
}

/** Returns the page's clock, updated each frame while `wanted`. */
function useClock(wanted: boolean): number {
  const [now, setNow] = useState(performance.now())
  useEffect(() => {
    if (!wanted) return
    let frame = 0
    const tick = () => {
      setNow(performance.now())
      frame = requestAnimationFrame(tick)
    }
    frame = requestAnimationFrame(tick)
    return () => cancelAnimationFrame(frame)
  }, [wanted])
  return now
}
