/**
 * Measures whether one tenant learns from the times of its own requests which words another has
 * sent, as the area under the curve of distinguishing sent words from others. One half is chance.
 */

/** Sends a text as a tenant; resolves with the server's tokenization time in milliseconds. */
export type Timed = (tenant: 'a' | 'b', text: string) => Promise<number>

export interface WordTiming {
  readonly pairs: number
  /** Area under the curve: .5 where the times carry no information. */
  readonly auc: number
  readonly sentMs: number
  readonly unsentMs: number
}

/**
 * Sends `pairs` words as A, and then those and as many new ones as B, each once, in random order.
 */
export async function wordTiming(timed: Timed, pairs: number, random: () => number = Math.random): Promise<WordTiming> {
  const sent: number[] = []
  const unsent: number[] = []
  for (let pair = 0; pair < pairs; pair++) {
    const [known, fresh] = [word(random), word(random)]
    for (let times = 0; times < 2; times++) await timed('a', `Tell me of ${known}.`)
    const first = random() < 0.5
    for (const isKnown of [first, !first])
      (isKnown ? sent : unsent).push(await timed('b', `Tell me of ${isKnown ? known : fresh}.`))
  }
  return { pairs, auc: areaUnderCurve(unsent, sent), sentMs: mean(sent), unsentMs: mean(unsent) }
}

/** Returns how often one of `high` exceeds one of `low`; equal ones count as half. */
export function areaUnderCurve(high: readonly number[], low: readonly number[]): number {
  let above = 0
  for (const one of high) for (const other of low) above += one > other ? 1 : one === other ? 0.5 : 0
  return above / (high.length * low.length)
}

/** Returns a long word that is in no vocabulary, which takes the longest. */
function word(random: () => number): string {
  return Array.from({ length: 120 }, () => String.fromCharCode(97 + Math.floor(random() * 26))).join('')
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
