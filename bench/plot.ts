/** Draws small line charts as SVG, readable in light and dark, without a library. */
import { defined } from '../src/base/at.ts'

export interface Series {
  readonly name: string
  readonly points: readonly (readonly [x: number, y: number])[]
  /** Draws a dashed line without marks, for a prediction or a bound. */
  readonly dashed?: boolean
}

export interface Axis {
  readonly label: string
  readonly log?: boolean
  /** Shows these values and no others. */
  readonly ticks?: readonly number[]
}

export interface Chart {
  readonly title: string
  readonly subtitle?: string
  readonly x: Axis
  readonly y: Axis
  readonly series: readonly Series[]
}

const width = 720
const height = 440
const frame = { left: 64, top: 64, bottom: 52 }
const tall = height - frame.top - frame.bottom

/** Okabe and Ito's colours, which all kinds of colour vision can tell apart. */
const colours = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9']

/** Returns a chart as SVG text. Points that a logarithmic axis cannot show are left out. */
export function lineChart(chart: Chart): string {
  const { title, subtitle = '', x, y } = chart
  const series = chart.series.map(({ points, ...rest }) => ({ ...rest, points: points.filter(shown(x, y)) }))
  const points = series.flatMap((one) => one.points)
  const horizontal = scaleOf(
    points.map(([value]) => value),
    x,
  )
  const vertical = scaleOf(
    points.map(([, value]) => value),
    y,
  )
  // Names stand to the right of the lines: about 7.2 units a letter.
  const right = 24 + 7.2 * Math.max(12, ...series.map(({ name }) => Math.min(name.length, 40)))
  const wide = width - frame.left - right
  const px = (value: number) => number(frame.left + horizontal.at(value) * wide)
  const py = (value: number) => number(frame.top + (1 - vertical.at(value)) * tall)
  const bottom = frame.top + tall
  const labels = spread(
    series.map((one) => Number(one.points.length ? py(defined(one.points.at(-1))[1]) : 0)),
    16,
  )
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(title)}">`,
    `<style>${style}</style>`,
    `<rect class="paper" width="${width}" height="${height}"/>`,
    `<text class="title" x="${frame.left - 44}" y="28">${escaped(title)}</text>`,
    `<text class="quiet" x="${frame.left - 44}" y="46">${escaped(subtitle)}</text>`,
    ...horizontal.ticks.map(
      (tick) =>
        `<path class="grid" d="M${px(tick)} ${frame.top}V${bottom}"/>` +
        `<text x="${px(tick)}" y="${bottom + 18}" text-anchor="middle">${label(tick)}</text>`,
    ),
    ...vertical.ticks.map(
      (tick) =>
        `<path class="grid" d="M${frame.left} ${py(tick)}H${frame.left + wide}"/>` +
        `<text x="${frame.left - 8}" y="${Number(py(tick)) + 4}" text-anchor="end">${label(tick)}</text>`,
    ),
    `<text x="${frame.left + wide / 2}" y="${height - 10}" text-anchor="middle">${escaped(x.label)}</text>`,
    `<text transform="translate(16 ${frame.top + tall / 2}) rotate(-90)" text-anchor="middle">${escaped(y.label)}</text>`,
    ...series.flatMap((one, index) => {
      if (one.points.length === 0) return []
      const colour = colours[index % colours.length]
      const line = one.points.map(([a, b], at) => `${at === 0 ? 'M' : 'L'}${px(a)} ${py(b)}`).join('')
      const few = one.points.length <= 24 && !one.dashed
      const end = defined(one.points.at(-1))
      return [
        `<path class="line" stroke="${colour}"${one.dashed ? ' stroke-dasharray="6 5"' : ''} d="${line}"/>`,
        ...(few ? one.points.map(([a, b]) => `<circle cx="${px(a)}" cy="${py(b)}" r="3.5" fill="${colour}"/>`) : []),
        `<path class="lead" stroke="${colour}" d="M${px(end[0])} ${py(end[1])}L${frame.left + wide + 10} ${labels[index]}"/>`,
        `<text x="${frame.left + wide + 14}" y="${defined(labels[index]) + 4}" style="fill:${colour}" class="name">${escaped(one.name)}</text>`,
      ]
    }),
    '</svg>',
    '',
  ].join('\n')
}

/**
 * Draws the distribution of several sets of values: for each value, the share of values at most
 * that.
 */
export function distributionChart(
  chart: Omit<Chart, 'series' | 'y'>,
  sets: readonly { readonly name: string; readonly values: readonly number[] }[],
): string {
  const series = sets.map(({ name, values }) => ({
    name,
    points: [...values]
      .sort((a, b) => a - b)
      .map((value, index): [number, number] => [value, (index + 1) / values.length]),
  }))
  return lineChart({ ...chart, y: { label: 'share of requests', ticks: [0, 0.25, 0.5, 0.75, 0.95, 1] }, series })
}

const style = `
text{font:12px system-ui,sans-serif;fill:#333}
.title{font-size:16px;font-weight:600}
.quiet{fill:#777}
.name{font-weight:600}
.paper{fill:#fff}
.grid{stroke:#ddd;fill:none}
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.lead{fill:none;stroke-width:1;opacity:.5}
@media (prefers-color-scheme:dark){text{fill:#ddd}.quiet{fill:#999}.paper{fill:#16181c}.grid{stroke:#33373d}}
`

interface Scale {
  /** Returns the position of a value, from 0 to 1. */
  at(value: number): number
  readonly ticks: readonly number[]
}

function shown(x: Axis, y: Axis): (point: readonly [number, number]) => boolean {
  const sound = (value: number, axis: Axis) => Number.isFinite(value) && (!axis.log || value > 0)
  return ([a, b]) => sound(a, x) && sound(b, y)
}

/**
 * Returns the scale of an axis. A linear axis begins at 0 if that is near; a logarithmic one ends
 * at round values.
 */
function scaleOf(values: readonly number[], axis: Axis): Scale {
  const all = [...values, ...(axis.ticks ?? [])]
  const low = all.length ? Math.min(...all) : axis.log ? 1 : 0
  const high = all.length ? Math.max(...all) : 1
  if (axis.log) {
    const ticks = axis.ticks ?? logTicks(low, high)
    const [from, to] = [
      Math.log(Math.min(low, ticks[0] ?? Number.NaN)),
      Math.log(Math.max(high, ticks.at(-1) ?? Number.NaN)),
    ]
    return { ticks, at: (value) => (to === from ? 0.5 : (Math.log(value) - from) / (to - from)) }
  }
  const ticks = axis.ticks ?? linearTicks(low > 0 && low < 0.5 * high ? 0 : low, high)
  const [from, to] = [Math.min(low, ticks[0] ?? Number.NaN), Math.max(high, ticks.at(-1) ?? Number.NaN)]
  return { ticks, at: (value) => (to === from ? 0.5 : (value - from) / (to - from)) }
}

function linearTicks(low: number, high: number): number[] {
  const span = Math.max(high - low, Math.abs(high) * 1e-6, 1e-6)
  const rough = span / 6
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((by) => by * power).find((by) => by >= rough) ?? 10 * power
  const first = Math.floor(low / step)
  return Array.from({ length: Math.ceil(high / step) - first + 1 }, (_, i) =>
    Number(((first + i) * step).toPrecision(12)),
  )
}

/** Returns 1, 2 and 5 of each power of ten if there are few powers, else the powers. */
function logTicks(low: number, high: number): number[] {
  const [from, to] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))]
  const steps = to - from <= 3 ? [1, 2, 5] : [1]
  const all: number[] = []
  for (let power = from; power <= to; power++) for (const step of steps) all.push(step * 10 ** power)
  // At the limits of a double, the next power is 0 or infinite.
  while (all[0] === 0) all.shift()
  while (all.at(-1) === Infinity) all.pop()
  const first = all.findLastIndex((tick) => tick <= low)
  const last = all.findIndex((tick) => tick >= high)
  return all.slice(Math.max(0, first), last < 0 ? all.length : last + 1)
}

/** Moves label heights apart, as little as needed. */
function spread(wanted: readonly number[], apart: number): number[] {
  const order = wanted.map((at, index) => ({ at, index })).sort((a, b) => a.at - b.at)
  for (let i = 1; i < order.length; i++)
    defined(order[i]).at = Math.max(defined(order[i]).at, defined(order[i - 1]).at + apart)
  const over = (order.at(-1)?.at ?? 0) - (frame.top + tall)
  if (over > 0) for (const one of order) one.at -= over
  const moved: number[] = []
  for (const { at, index } of order) moved[index] = Number(number(at))
  return moved
}

function label(value: number): string {
  return Math.abs(value) >= 10_000 ? `${value / 1000}k` : String(value)
}

function number(value: number): string {
  return value.toFixed(1).replace(/\.0$/, '')
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (found) => defined({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }[found]))
}
