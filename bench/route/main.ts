/**
 * Measures the router against fixed choices.
 *
 *     npm run bench:route -- [--seed 1] [--requests 40] [--real] [--model MODEL]
 *                            [--lengths 32,128,512] [--prompts 4] [--map FILE.svg] [--json]
 *
 * - grid: regimes of network and speeds on a simulated clock (`world.ts`), all policies on the same
 *   draws. Regret is the router's mean TTFT divided by that of the fixed way that was best in
 *   hindsight, in each cell.
 * - drift: the network or the companion changes halfway.
 * - real (`--real`): the whole path over a network that is slowed down (`real.ts`), some minutes a
 *   regime.
 */

import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { defaultModel } from '../../node/index.ts'
import { at, defined } from '../../src/base/at.ts'
import { machine } from '../machine.ts'
import { mean, round, sum } from '../stats.ts'
import { drift } from './drift.ts'
import { grid, kinds, standard } from './grid.ts'
import { choiceMap } from './map.ts'
import { type RealRow, real } from './real.ts'
import type { Regime } from './world.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    requests: { type: 'string', default: '40' },
    real: { type: 'boolean', default: false },
    model: { type: 'string', default: defaultModel },
    lengths: { type: 'string', default: '32,128,512' },
    prompts: { type: 'string', default: '4' },
    map: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})
const seed = Number(values.seed)

/** Speeds that this machine reaches with a model of 135M: 2 ms a token and slower. */
const reached: readonly Regime[] = [
  { rtt_ms: 5, mbit_s: 500, loss: 0, local_ms_per_token: 12, companion_ms_per_token: 3 },
  { rtt_ms: 40, mbit_s: 100, loss: 0, local_ms_per_token: 12, companion_ms_per_token: 3 },
  { rtt_ms: 150, mbit_s: 20, loss: 0.0005, local_ms_per_token: 12, companion_ms_per_token: 3 },
  { rtt_ms: 40, mbit_s: 100, loss: 0, local_ms_per_token: 3, companion_ms_per_token: 6 },
  { rtt_ms: 150, mbit_s: 100, loss: 0, local_ms_per_token: 3, companion_ms_per_token: 3 },
]

const options = { ...standard, seed, requests: Number(values.requests) }
const cells = grid(options)
const rows = values.real
  ? await real({
      model: values.model,
      regimes: reached,
      lengths: values.lengths.split(',').map(Number),
      prompts: Number(values.prompts),
      seed,
      onProgress: (text) => process.stderr.write(`\r\x1b[K${text}`),
    })
  : []
process.stderr.write('\n')
const record = {
  bench: 'route',
  machine: machine(),
  seed,
  requests: options.requests,
  grid: kinds.map(({ name }) => summaryOf(name)),
  drift: drift(seed),
  ...(rows.length > 0 && { real: { model: values.model, summary: summaryOfReal(rows), rows } }),
  choice_map: cells.filter(({ loss }) => loss === 0),
}
if (values.map)
  writeFileSync(
    values.map,
    choiceMap(
      record.choice_map.filter(({ kind }) => kind === 'refined'),
      'The way that the router settles on, by network, speeds and prompt',
    ),
  )
console.log(JSON.stringify(values.json ? record : { ...record, choice_map: undefined }, undefined, values.json ? 0 : 2))

function summaryOf(kind: string) {
  const found = cells.filter((cell) => cell.kind === kind)
  const names = Object.keys(at(found, 0).ttft)
  const timesOf = (policy: string) => found.map(({ ttft }) => defined(ttft[policy]))
  const best = found.map(({ ttft, best }) => defined(ttft[best]))
  const worst = found.reduce((worst, cell) => (cell.settled > worst.settled ? cell : worst))
  return {
    kind,
    cells: found.length,
    mean_ttft_ms: Object.fromEntries(names.map((name) => [name, round(mean(timesOf(name)), 4)])),
    best_in_hindsight_ms: round(mean(best), 4),
    regret: round(mean(found.map(({ regret }) => regret)), 4),
    regret_settled: round(mean(found.map(({ settled }) => settled)), 4),
    regret_of_means: round(sum(timesOf('router')) / sum(best), 4),
    worst_settled: worst,
  }
}

/**
 * Summarises by regime and prefill: the router against the best fixed way of each length, and a
 * race against reading here.
 */
function summaryOfReal(rows: readonly RealRow[]) {
  const groups = Map.groupBy(rows, ({ rtt_ms, mbit_s, local_ms_per_token, companion_ms_per_token, prefill }) =>
    JSON.stringify({ rtt_ms, mbit_s, local_ms_per_token, companion_ms_per_token, prefill }),
  )
  return [...groups].map(([name, group]) => {
    const of = (policy: string) => group.filter((row) => row.policy === policy).map(({ ttft_ms }) => ttft_ms)
    const fixed = [...new Set(group.map(({ policy }) => policy))].filter((policy) => policy !== 'router')
    const ratios = of('router').map((ms, index) => ms / Math.min(...fixed.map((policy) => at(of(policy), index))))
    return {
      ...JSON.parse(name),
      regret: round(mean(ratios), 3),
      ...(fixed.includes('race') && { race_by_local: round(sum(of('race')) / sum(of('local')), 3) }),
      mean_ttft_ms: Object.fromEntries(['router', ...fixed].map((policy) => [policy, round(mean(of(policy)), 4)])),
    }
  })
}
