/** Writes records as one self-contained page: charts, their sources, and what could not be read. */
import { type Figure, figures } from './charts.ts'
import type { BenchRecord, Records } from './records.ts'

export interface Report {
  readonly html: string
  readonly figures: readonly Figure[]
}

export function reportOf({ records, unreadable }: Records): Report {
  const shown = figures(records)
  const html = [
    '<!doctype html><html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1"><title>foretoken: measurements</title>',
    `<style>${style}</style></head><body><main>`,
    '<header><h1>foretoken: measurements</h1>',
    '<p>Time to first token is counted from the request to the first text that can be read: template, tokenizer, prefill and sampling are inside. ',
    'Times belong to the machine that they were measured on; ratios travel. The load average stands beside each record.</p></header>',
    ...shown.map(section),
    '<section><h2>All records</h2><div class="wide"><table><thead><tr><th>date</th><th>what</th><th>machine</th><th>commit</th><th>load</th><th>file</th></tr></thead><tbody>',
    ...records.toReversed().map(line),
    '</tbody></table></div></section>',
    ...(unreadable.length > 0
      ? [
          `<section><h2>Not read</h2><ul>${unreadable.map(({ file, why }) => `<li><code>${escaped(file)}</code>: ${escaped(why)}</li>`).join('')}</ul></section>`,
        ]
      : []),
    '</main></body></html>',
    '',
  ].join('\n')
  return { html, figures: shown }
}

function section({ id, title, about, svg, from }: Figure): string {
  const sources = [
    ...new Set(from.map(({ file, load }) => `<code>${escaped(file)}</code> (load ${escaped(load)})`)),
  ].join(', ')
  return `<section id="${id}"><h2>${escaped(title)}</h2><p>${escaped(about)}</p><figure>${scoped(svg, id)}<figcaption>${sources}</figcaption></figure></section>`
}

/** Charts have styles of their own; on one page each is limited to its section. */
function scoped(svg: string, id: string): string {
  return svg.replace(
    /<style>([\s\S]*?)<\/style>/,
    (_, css: string) =>
      `<style>${css.replace(/(^|[{}\n])\s*([^@{}\n][^{}]*)\{/g, (_, before, selector) => `${before}${prefixed(selector, id)}{`)}</style>`,
  )
}

function prefixed(selector: string, id: string): string {
  return selector
    .split(',')
    .map((one) => `#${id} svg ${one.trim()}`)
    .join(',')
}

function line({ date, bench, machine, commit, load, file }: BenchRecord): string {
  return `<tr>${[date, bench, machine, commit, load, file].map((cell) => `<td>${escaped(cell)}</td>`).join('')}</tr>`
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}

const style = `
:root{--paper:#fbfaf7;--sheet:#fff;--ink:#1d211f;--soft:#59615d;--line:#d9dbd5;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--paper:#141716;--sheet:#1c201e;--ink:#e8ebe7;--soft:#a3aca7;--line:#343a37}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 ui-sans-serif,system-ui,sans-serif}
main{max-width:52rem;margin:0 auto;padding:1.5rem 1rem 3rem;display:grid;gap:2.5rem}
h1{margin:0;font-size:1.6rem;letter-spacing:-.01em}h2{margin:0 0 .25rem;font-size:1.15rem}p{margin:.25rem 0;color:var(--soft)}
section{min-width:0}
figure{margin:.75rem 0 0;background:var(--sheet);border:1px solid var(--line);border-radius:10px;padding:.75rem}
figure svg{display:block;width:100%;height:auto}
figcaption{margin-top:.5rem;color:var(--soft);font-size:.8rem;overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;width:100%}th,td{text-align:left;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}th{color:var(--soft);font-weight:600}
`
