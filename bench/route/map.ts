/**
 * Draws the router's choices over the grid: RTT by bandwidth in panels, prompt length by speeds
 * within each.
 */
import { defined } from '../../src/base/at.ts'
import type { Cell } from './grid.ts'

const colours: Readonly<Record<string, string>> = {
  local: '#0072b2',
  remote: '#e69f00',
  relay: '#009e73',
  race: '#cc79a7',
}
const square = 15
const gap = 18
const left = 118
const top = 96

/** Draws the cells of one kind, without loss. */
export function choiceMap(cells: readonly Cell[], title: string): string {
  const values = (of: (cell: Cell) => number) => [...new Set(cells.map(of))].sort((a, b) => a - b)
  const rtts = values((cell) => cell.rtt_ms)
  const rates = values((cell) => cell.mbit_s)
  const lengths = values((cell) => cell.tokens)
  const locals = values((cell) => cell.local_ms_per_token)
  const companions = values((cell) => cell.companion_ms_per_token)
  const speeds = locals.flatMap((local) => companions.map((companion) => ({ local, companion })))
  const wide = lengths.length * square
  const tall = speeds.length * square
  const x = (rate: number) => left + rates.indexOf(rate) * (wide + gap + 56)
  const y = (rtt: number) => top + rtts.indexOf(rtt) * (tall + gap + 30)
  const width = x(defined(rates.at(-1))) + wide + 24
  const height = y(defined(rtts.at(-1))) + tall + 44
  const text = (x: number, y: number, value: string, more = '') => `<text x="${x}" y="${y}"${more}>${value}</text>`
  const panels = rtts.flatMap((rtt) =>
    rates.flatMap((rate) => [
      text(x(rate), y(rtt) - 8, `RTT ${rtt} ms, ${rate} Mbit/s`, ' class="name"'),
      ...speeds.map(({ local, companion }, row) =>
        text(
          x(rate) - 6,
          y(rtt) + (row + 0.75) * square,
          `${local} | ${companion}`,
          ' text-anchor="end" class="quiet"',
        ),
      ),
      ...lengths.map((tokens, column) =>
        text(
          x(rate) + (column + 0.5) * square,
          y(rtt) + tall + 12,
          short(tokens),
          ' text-anchor="middle" class="tick"',
        ),
      ),
      ...cells
        .filter((cell) => cell.rtt_ms === rtt && cell.mbit_s === rate)
        .map((cell) => {
          const row = speeds.findIndex(
            ({ local, companion }) => local === cell.local_ms_per_token && companion === cell.companion_ms_per_token,
          )
          const column = lengths.indexOf(cell.tokens)
          const at = `x="${x(rate) + column * square}" y="${y(rtt) + row * square}"`
          return `<rect ${at} width="${square - 1}" height="${square - 1}" fill="${colours[cell.way]}"><title>${cell.tokens} tokens: ${cell.way}, ${cell.ttft.router} ms; best fixed ${cell.best}</title></rect>`
        }),
    ]),
  )
  const legend = Object.entries(colours).flatMap(([way, colour], at) => [
    `<rect x="${20 + at * 90}" y="52" width="12" height="12" fill="${colour}"/>`,
    text(38 + at * 90, 62, way),
  ])
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${title}">`,
    `<style>${style}</style>`,
    `<rect class="paper" width="${width}" height="${height}"/>`,
    text(20, 28, title, ' class="title"'),
    text(
      20,
      45,
      'rows: ms a token here | at the companion; columns: tokens of the prompt that are not cached',
      ' class="quiet"',
    ),
    ...legend,
    ...panels,
    '</svg>',
    '',
  ].join('\n')
}

function short(tokens: number): string {
  return tokens >= 1024 ? `${tokens / 1024}k` : String(tokens)
}

const style = `
text{font:11px system-ui,sans-serif;fill:#333}
.title{font-size:16px;font-weight:600}
.quiet{fill:#777}
.tick{font-size:7px;fill:#777}
.name{font-weight:600}
.paper{fill:#fff}
@media (prefers-color-scheme:dark){text{fill:#ddd}.quiet,.tick{fill:#999}.paper{fill:#16181c}}
`
