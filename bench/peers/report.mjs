/** Computes the medians of a run, and its table. */

export function summarise(results, lengths) {
  return results.map(({ name, weights, where, load_ms, right, error, answer, samples }) => {
    const row = {
      name,
      weights,
      where,
      load_ms,
      answer,
      ...(error ? { error } : {}),
      ...(right ? {} : { right: false }),
    }
    row.lengths = lengths.map((tokens) => {
      const taken = samples.filter((sample) => sample.tokens === tokens)
      const of = (key) => spread(taken.map((sample) => sample[key]))
      return taken.length === 0
        ? { tokens }
        : {
            tokens,
            prefill_ms: of('prefill_ms'),
            prefill_cpu_ms: of('prefill_cpu_ms'),
            tokens_per_s: Number(((tokens * 1000) / of('prefill_ms').median).toFixed(1)),
            decode_ms: of('decode_ms'),
            decode_cpu_ms: of('decode_cpu_ms'),
          }
    })
    return row
  })
}

function spread(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const fixed = (value) => Number(value.toFixed(2))
  const median = (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2
  return { median: fixed(median), min: fixed(sorted[0]), max: fixed(sorted.at(-1)) }
}

/**
 * Returns a table with one line for each engine. "x ours" says how many times faster foretoken
 * prefills in the same place.
 */
export function table(rows, lengths) {
  const head = ['engine', 'weights', 'where', 'load ms']
  for (const tokens of lengths)
    head.push(`prefill ${tokens}: ms (range)`, 'cpu ms', 't/s', 'x ours', 'decode ms', 'cpu ms')
  const ours = (where) => rows.find((row) => row.name === 'foretoken' && row.where === where)
  const lines = rows.map((row) => {
    const cells = [row.name, row.weights, row.where, String(row.load_ms ?? '')]
    for (const [n, each] of row.lengths.entries()) {
      if (!each.prefill_ms) {
        cells.push(row.error ?? 'wrong answer', '', '', '', '', '')
        continue
      }
      const { median, min, max } = each.prefill_ms
      const base = ours(row.where)?.lengths[n]?.prefill_ms?.median
      cells.push(`${median.toFixed(0)} (${min.toFixed(0)}-${max.toFixed(0)})`, each.prefill_cpu_ms.median.toFixed(0))
      cells.push(each.tokens_per_s.toFixed(0), base ? (median / base).toFixed(2) : '')
      cells.push(each.decode_ms.median.toFixed(1), each.decode_cpu_ms.median.toFixed(1))
    }
    return cells
  })
  const bar = head.map(() => '---')
  return [head, bar, ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
