/**
 * Times prompts and steps behind them with attention in floats and in integers, over int8 pages.
 *
 *     node bench/attention.ts [--model smollm2-135m] [--tokens 128,512,1024,2048,4096] [--rounds 5] [--steps 12]
 *
 * One thread; the two take turns. A line gives the processor time of a prompt and of a step after
 * it: the median, the fastest and the slowest round, and how many times faster integers are.
 */
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { loadEngine } from '../node/index.ts'
import type { AttentionForm } from '../src/index.ts'
import { cpuMs, quantile } from './stats.ts'

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'smollm2-135m' },
    tokens: { type: 'string', default: '128,512,1024,2048,4096' },
    rounds: { type: 'string', default: '5' },
    steps: { type: 'string', default: '12' },
  },
})
const lengths = values.tokens.split(',').map(Number)
const steps = Number(values.steps)
const context = Math.max(...lengths) + steps
const forms: readonly AttentionForm[] = ['float', 'int']

const engines = await Promise.all(
  forms.map(async (attention) => ({
    attention,
    engine: await loadEngine(values.model, { threads: 1, kv: 'int8', attention, context, prefixBytes: 0 }),
  })),
)
console.log(`${values.model}, ${engines[0]!.engine.backend.build}, load ${loadavg()[0]!.toFixed(1)}`)
for (const length of lengths) {
  const found = new Map(forms.map((form) => [form, { prompt: [] as number[], step: [] as number[] }]))
  for (let round = 0; round < Number(values.rounds); round++)
    for (const { attention, engine } of round % 2 === 0 ? engines : [...engines].reverse()) {
      const ids = Array.from({ length }, (_, i) => ((i + 1) * 7919 + round) % engine.archive.config.vocab)
      const of = found.get(attention)!
      let begun = cpuMs()
      const session = await engine.prefill(ids)
      of.prompt.push(cpuMs() - begun)
      begun = cpuMs()
      for (let step = 0; step < steps; step++) await session.step(ids[step % length]!)
      of.step.push((cpuMs() - begun) / steps)
      session.release()
    }
  for (const part of ['prompt', 'step'] as const) {
    const [float, int] = forms.map((form) => found.get(form)![part]) as [number[], number[]]
    const ratio = (quantile(float, 0.5) / quantile(int, 0.5)).toFixed(2)
    console.log(`${length} tokens, ${part}: float ${told(float)}, int ${told(int)}: ${ratio}x`)
  }
}
await Promise.all(engines.map(({ engine }) => engine.close()))

function told(times: readonly number[]): string {
  const digits = quantile(times, 0.5) < 100 ? 2 : 0
  const [median, least, most] = [quantile(times, 0.5), Math.min(...times), Math.max(...times)]
  return `${median.toFixed(digits)} ms (${least.toFixed(digits)}-${most.toFixed(digits)})`
}
