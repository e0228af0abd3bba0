/**
 * Measures the whole path in real time: an engine here, a companion in another process, and a
 * slowed-down network between them. In each regime the router and the fixed ways take turns with
 * prompts of the same lengths. Speeds are set by waiting, and are never faster than this machine.
 */

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { loadEngine, shippedPredictor } from '../../node/index.ts'
import { defined } from '../../src/base/at.ts'
import { createRandom } from '../../src/decode/random.ts'
import { type Engine, keyBytes, RemoteCompanion, Routed, StaticCompanions, type Way } from '../../src/index.ts'
import { mean, round, summary } from '../stats.ts'
import { slow } from './slowed.ts'
import type { Regime } from './world.ts'

export interface RealOptions {
  readonly model: string
  readonly regimes: readonly Regime[]
  readonly lengths: readonly number[]
  /** Number of prompts of each length for each policy. */
  readonly prompts: number
  readonly seed: number
  readonly onProgress?: (text: string) => void
}

export interface RealRow extends Regime {
  readonly prefill: 'exact' | 'refined'
  readonly policy: string
  readonly tokens: number
  readonly prompts: number
  /** The mean of the samples. */
  readonly ttft_ms: number
  readonly samples: readonly number[]
  /** For the router: how often it took each way. */
  readonly ways?: Readonly<Partial<Record<Way, number>>>
  /**
   * For the router: the median absolute error of its expected time, as a share of the actual one.
   */
  readonly off?: number
}

interface Policy {
  readonly name: string
  readonly routed: Routed
  readonly predicted: number[]
}

const key = '7'.repeat(64)
const answerTokens = 2

export async function real(options: RealOptions): Promise<RealRow[]> {
  const rows: RealRow[] = []
  for (const regime of options.regimes) {
    const predictor = await shippedPredictor(options.model)
    const engine = await loadEngine(options.model, {
      threads: 1,
      prefixBytes: 1 << 26,
      ...(predictor && { predictor }),
    })
    slow(engine, regime.local_ms_per_token)
    const far = await startFar(options.model, regime)
    try {
      const refined = engine.prediction !== undefined
      for (const prefill of refined ? (['exact', 'refined'] as const) : (['exact'] as const))
        rows.push(...(await turns(engine, far.url, regime, prefill, options)))
    } finally {
      far.stop()
      await engine.close()
    }
  }
  return rows
}

async function turns(
  engine: Engine,
  url: string,
  regime: Regime,
  prefill: RealRow['prefill'],
  { lengths, prompts, seed, onProgress }: RealOptions,
): Promise<RealRow[]> {
  const ways: Way[] = prefill === 'exact' ? ['remote', 'relay'] : ['remote', 'relay', 'race']
  const policies = [undefined, 'local' as const, ...ways].map((always): Policy => {
    const client = new RemoteCompanion({ url, id: 'edge', key: keyBytes(key) }, fetch, {
      firstMs: 120_000,
      stallMs: 60_000,
    })
    const companions = new StaticCompanions([{ name: 'far', client }])
    const options = { companions, codec: 'int8' as const, ways, ...(always && { always }) }
    return { name: always ?? 'router', routed: new Routed(engine, options), predicted: [] }
  })
  const random = createRandom(seed)
  const { vocab } = engine.archive.config
  const measured = new Map<string, { readonly ms: number[]; readonly ways: Way[]; readonly off: number[] }>()
  for (const { routed } of policies) await routed.refresh()
  const order = lengths.flatMap((tokens) => Array.from({ length: prompts }, () => ({ tokens, at: random() })))
  order.sort((a, b) => a.at - b.at)
  for (const [index, { tokens }] of order.entries())
    for (let turn = 0; turn < policies.length; turn++) {
      const { name, routed } = defined(policies[(index + turn) % policies.length])
      onProgress?.(`${prefill} ${JSON.stringify(regime)} ${index + 1} of ${order.length} ${name}`)
      const prompt = Array.from({ length: tokens }, () => 100 + Math.floor(random() * (vocab - 200)))
      const begun = performance.now()
      const answer = routed.submit({ prompt, maxTokens: answerTokens, ignoreEos: true, prefill })
      let ms: number | undefined
      for await (const { type } of answer) if (type === 'token') ms ??= performance.now() - begun
      const { way, predicted_ms } = answer.route
      const cell = measured.get(`${name} ${tokens}`) ?? { ms: [], ways: [], off: [] }
      measured.set(`${name} ${tokens}`, cell)
      if (ms === undefined) throw new Error('the answer has no token')
      cell.ms.push(ms)
      cell.ways.push(way)
      cell.off.push(Math.abs(predicted_ms / ms - 1))
    }
  return policies.flatMap(({ name }) =>
    lengths.map((tokens): RealRow => {
      const { ms, ways, off } = defined(measured.get(`${name} ${tokens}`))
      const counts = Object.fromEntries(
        [...new Set(ways)].map((way) => [way, ways.filter((one) => one === way).length]),
      )
      return {
        ...regime,
        prefill,
        policy: name,
        tokens,
        prompts,
        ttft_ms: round(mean(ms), 4),
        samples: ms.map((one) => round(one, 4)),
        ...(name === 'router' && { ways: counts, off: round(summary(off).median, 2) }),
      }
    }),
  )
}

/** Starts the far end in a process of its own. */
async function startFar(model: string, regime: Regime) {
  const main = fileURLToPath(new URL('companion-main.ts', import.meta.url))
  const child: ChildProcessWithoutNullStreams = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', main, model, String(regime.companion_ms_per_token), key],
    { stdio: 'pipe' },
  )
  child.stderr.pipe(process.stderr)
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async () => {
    const { done, value } = await lines.next()
    if (done) throw new Error('the companion ended early; its messages are above')
    return value
  }
  const port = Number(await next())
  child.stdin.write(`${JSON.stringify(regime)}\n`)
  await next()
  return { url: `http://127.0.0.1:${port}`, stop: () => child.kill() }
}
