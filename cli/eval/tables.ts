/** Prints what `eval` measured, for people. */
import type { QualityRow } from '../../bench/quality/judge.ts'
import { methodNames } from '../../bench/quality/methods.ts'
import { suites } from '../../bench/quality/suites.ts'

/** A column: its heading, and its text for a row; '' where the row has no such value. */
interface Column {
  readonly head: string
  readonly of: (row: QualityRow) => string
}

const columns: readonly Column[] = [
  { head: 'work', of: (row) => `${row.share.toFixed(2)}${reaches(row) ? ' ' : '*'}` },
  { head: 'KL', of: ({ kl, kl_error }) => withError(kl, kl_error, 3) },
  { head: 'same token', of: ({ top1 }) => top1.toFixed(2) },
  { head: 'same first', of: ({ first, first_error }) => withError(first, first_error, 2) },
  { head: 'NLL', of: ({ nll }) => nll.toFixed(3) },
  {
    head: 'right',
    of: ({ right, right_error = null }) => (right === undefined ? '' : withError(right, right_error, 2)),
  },
  {
    head: 'chosen',
    of: ({ chosen, chosen_error = null }) => (chosen === undefined ? '' : withError(chosen, chosen_error, 2)),
  },
  { head: 'TTFT ms', of: ({ ttft_ms }) => ttft_ms.toFixed(0) },
]

/** Returns the lines of a suite at one length: a table for each amount of work, and one of its parts. */
export function suiteTables(rows: readonly QualityRow[]): string[] {
  const [exact] = rows
  if (!exact) return []
  const { suite, length, cases } = exact
  const lines = [
    '',
    `${suite}, ${length} tokens, ${cases} ${cases === 1 ? 'prompt' : 'prompts'}: ${suites[suite]?.about}`,
  ]
  const amounts = [...new Set(rows.slice(1).map(({ wanted }) => wanted))]
  for (const wanted of amounts) {
    const shown = [exact, ...rows.slice(1).filter((row) => row.wanted === wanted)]
    lines.push('', wanted === null ? 'at the work of the predictor’s own plan' : `at ${wanted} of exact prefill’s work`)
    const used = columns.filter(({ of }) => shown.some((row) => of(row) !== ''))
    lines.push(
      ...aligned([
        ['', ...used.map(({ head }) => head)],
        ...shown.map((row) => [row.method, ...used.map(({ of }) => of(row))]),
      ]),
    )
    const names = Object.keys(exact.groups ?? {})
    if (names.length === 0) continue
    const parts = shown.slice(1).map(({ method, groups = {} }) => {
      const cells = names.map((name) => groups[name]).map((part) => (part ? withError(part.kl, part.kl_error, 3) : ''))
      return [method, ...cells]
    })
    lines.push(...aligned([['KL by place', ...names], ...parts]))
  }
  return lines
}

/** Explains the columns and the methods that were shown. */
export function legend(rows: readonly QualityRow[]): string[] {
  const shown = Object.entries(methodNames).filter(([name]) => rows.some(({ method }) => method === name))
  const width = Math.max(0, ...shown.map(([name]) => name.length))
  return [
    '',
    'work: the prefill’s multiply-adds by exact prefill’s. KL: how far the probabilities of the next tokens are from',
    'exact ones, in nats; 0 is exact. same token, same first: share of answer tokens, and of first tokens, that are',
    'exact prefill’s likeliest. ±: standard error over the prompts. TTFT: the median of this run.',
    ...(rows.every(reaches) ? [] : ['*: the method cannot do as little work as was asked for.']),
    ...shown.map(([name, about]) => `  ${name.padEnd(width)}  ${about}`),
  ]
}

/** Returns false for a method that did clearly more work than was wanted. */
function reaches({ share, wanted }: QualityRow): boolean {
  return wanted === null || share <= wanted + 0.01
}

function withError(value: number, error: number | null, digits: number): string {
  return error === null ? value.toFixed(digits) : `${value.toFixed(digits)} ±${error.toFixed(digits)}`
}

/** Returns rows as lines; the first column is aligned to the left, the others to the right. */
function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? `  ${cell.padEnd(widths[i] ?? 0)}` : `  ${cell.padStart(widths[i] ?? 0)}`))
      .join(''),
  )
}
