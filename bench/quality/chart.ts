/** Draws quality against time to the first token, all methods in one picture. */
import { defined } from '../../src/base/at.ts'
import { lineChart } from '../plot.ts'
import type { QualityRow } from './judge.ts'

/**
 * Returns an SVG chart of one suite at one length: KL divergence from exact answers against TTFT
 * relative to exact prefill.
 */
export function qualityChart(
  rows: readonly QualityRow[],
  { suite, length }: Pick<QualityRow, 'suite' | 'length'>,
): string {
  const shown = rows.filter((row) => row.suite === suite && row.length === length)
  const exact = defined(shown.find(({ method }) => method === 'exact'))
  const names = [...new Set(shown.map(({ method }) => method))].filter((name) => name !== 'exact')
  const series = names.map((name) => ({
    name,
    points: shown
      .filter(({ method }) => method === name)
      .map(({ ttft_ms, kl }) => [ttft_ms / exact.ttft_ms, kl] as const)
      .sort(([a], [b]) => a - b),
  }))
  return lineChart({
    title: `Quality against time to first token: ${suite}, prompts of ${length} tokens`,
    subtitle: `${exact.cases} prompts; lower and further left is better; refined becomes exact while it answers`,
    x: { label: 'time to first token, by exact prefill’s' },
    y: { label: 'KL from exact answers, nats', log: true },
    series,
  })
}
