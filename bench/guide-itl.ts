/**
 * Measures what a stream notices of others' grammars: the time between two tokens (ITL) of a plain
 * answer alone, and while hostile grammars are compiled for another tenant.
 *
 *     node bench/guide-itl.ts [MODEL] [ROUNDS]
 */
import { loadavg } from 'node:os'
import { loadEngine } from '../node/index.ts'
import { defined } from '../src/base/at.ts'
import type { Guide } from '../src/index.ts'
import { hostile } from './hostile-grammars.ts'
import { quantile } from './stats.ts'

const [model = 'smollm2-135m', rounds = '5'] = process.argv.slice(2)
const engine = await loadEngine(model, { threads: 1 })

/** Milliseconds between the tokens of an answer of 384 tokens. */
async function intervals(seed: number): Promise<number[]> {
  const times: number[] = []
  let last: number | undefined
  const options = { temperature: 1, seed, maxTokens: 384, ignoreEos: true }
  for await (const event of engine.submit({ prompt: 'Tell me about the sea.', tenant: 'stream', ...options })) {
    if (event.type !== 'token') continue
    const now = performance.now()
    if (last !== undefined) times.push(now - last)
    last = now
  }
  return times
}

/** A hostile grammar that has not been compiled before. */
function guideOf([, kind, text]: (typeof hostile)[number], round: number): Guide {
  if (kind === 'regex') return { kind, regex: `${text}|${round}` }
  if (kind === 'choice') return { kind, choices: [...JSON.parse(text), `round ${round}`] }
  return { kind, schema: { ...JSON.parse(text), description: `round ${round}` } }
}

/** Asks for one answer after another under hostile grammars until `stopped`. Returns how many there were. */
async function attack(stopped: () => boolean, round: number): Promise<number> {
  let asked = 0
  while (!stopped()) {
    const guide = guideOf(defined(hostile[asked % hostile.length]), round * 1000 + asked)
    asked++
    try {
      for await (const _ of engine.submit({ prompt: 'Answer.', guide, maxTokens: 1, tenant: 'hostile' }));
    } catch {
      // Refused: so much the better.
    }
  }
  return asked
}

await intervals(0)
const [alone, beside]: [number[], number[]] = [[], []]
for (let round = 1; round <= Number(rounds); round++) {
  alone.push(quantile(await intervals(round), 0.95))
  let over = false
  const attacking = attack(() => over, round)
  beside.push(quantile(await intervals(round), 0.95))
  over = true
  const asked = await attacking
  const [a, b] = [defined(alone.at(-1)), defined(beside.at(-1))]
  console.log(
    `round ${round}: ITL p95 alone ${a.toFixed(2)} ms, beside ${asked} hostile grammars ${b.toFixed(2)} ms, ` +
      `${(b / a).toFixed(2)}x; load ${defined(loadavg()[0]).toFixed(1)}`,
  )
}
const ratio = beside.map((value, round) => value / defined(alone[round]))
console.log(`median ratio ${quantile(ratio, 0.5).toFixed(2)}x (${ratio.map((one) => one.toFixed(2)).join(', ')})`)
await engine.close()
