/** Counters and histograms, and their text format for Prometheus (exposition format 0.0.4). */

export type Labels = Readonly<Record<string, string>>

interface Histogram {
  readonly counts: number[]
  sum: number
  count: number
}

export interface Gauge {
  readonly name: string
  readonly help: string
  readonly value: number
  readonly type?: 'gauge' | 'counter'
}

export class Counter {
  readonly name: string
  readonly help: string
  readonly #values = new Map<string, number>()

  constructor(name: string, help: string) {
    this.name = name
    this.help = help
  }

  add(by = 1, labels: Labels = {}): void {
    const text = labelText(labels)
    this.#values.set(text, (this.#values.get(text) ?? 0) + by)
  }

  lines(): string[] {
    const head = header(this.name, this.help, 'counter')
    if (this.#values.size === 0) return head
    return [...head, ...[...this.#values].map(([labels, value]) => `${this.name}${braced(labels)} ${value}`)]
  }
}

export class HistogramSet {
  readonly name: string
  readonly help: string
  /** Upper bounds, ascending. */
  readonly #bounds: readonly number[]
  readonly #histograms = new Map<string, Histogram>()

  constructor(name: string, help: string, bounds: readonly number[]) {
    this.name = name
    this.help = help
    this.#bounds = bounds
  }

  observe(value: number, labels: Labels = {}): void {
    const text = labelText(labels)
    let histogram = this.#histograms.get(text)
    if (!histogram) {
      histogram = { counts: this.#bounds.map(() => 0), sum: 0, count: 0 }
      this.#histograms.set(text, histogram)
    }
    const bucket = this.#bounds.findIndex((bound) => value <= bound)
    if (bucket >= 0) histogram.counts[bucket]!++
    histogram.sum += value
    histogram.count++
  }

  lines(): string[] {
    const lines = header(this.name, this.help, 'histogram')
    for (const [labels, { counts, sum, count }] of this.#histograms) {
      const bracesWith = (bound: string) => braced([labels, `le="${bound}"`].filter(Boolean).join(','))
      let below = 0
      this.#bounds.forEach((bound, bucket) => {
        below += counts[bucket] ?? 0
        lines.push(`${this.name}_bucket${bracesWith(String(bound))} ${below}`)
      })
      lines.push(`${this.name}_bucket${bracesWith('+Inf')} ${count}`)
      lines.push(`${this.name}_sum${braced(labels)} ${sum}`, `${this.name}_count${braced(labels)} ${count}`)
    }
    return lines
  }
}

export function gaugeLines({ name, help, value, type = 'gauge' }: Gauge): string[] {
  return [...header(name, help, type), `${name} ${value}`]
}

/** Returns the lines of one gauge or counter per set of labels; none if there are no values. */
export function labelledGaugeLines(
  { name, help, type = 'gauge' }: Omit<Gauge, 'value'>,
  values: readonly (readonly [labels: Labels, value: number])[],
): string[] {
  if (values.length === 0) return []
  return [
    ...header(name, help, type),
    ...values.map(([labels, value]) => `${name}${braced(labelText(labels))} ${value}`),
  ]
}

function header(name: string, help: string, type: string): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`]
}

function labelText(labels: Labels): string {
  return Object.entries(labels)
    .map(
      ([name, value]) => `${name}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
    )
    .join(',')
}

function braced(labels: string): string {
  return labels ? `{${labels}}` : ''
}
