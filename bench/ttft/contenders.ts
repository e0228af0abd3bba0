/**
 * The engines that are measured on a Mac: this one on the CPU and on the GPU, prefill by a
 * companion, and two peers if they are installed.
 */

import { loadEngine, shippedPredictor } from '../../node/index.ts'
import { openWebGpu } from '../../node/webgpu.ts'
import { defined } from '../../src/base/at.ts'
import { type Engine, keyBytes, RemoteCompanion, Routed, StaticCompanions, type Way } from '../../src/index.ts'
import { cpuMs } from '../stats.ts'
import { startCompanion } from './companion.ts'
import type { Contender, First } from './contender.ts'
import { llamaCpp, mlx } from './peers.ts'

export interface ContenderOptions {
  readonly model: string
  readonly context: number
  /** Address and key of a companion on another machine, used instead of one on this machine. */
  readonly companion?: { readonly url: string; readonly key: string } | undefined
  /** For MLX-LM: a model on Hugging Face, or a folder. */
  readonly mlxModel: string
}

/**
 * The engines by name. Each is opened alone, since several would share the memory. Rejects with
 * `unsupported` if it cannot run here.
 */
export const contenders: Readonly<Record<string, (options: ContenderOptions) => Promise<Contender>>> = {
  wasm: async (options) => ours('wasm', await load(options)),
  webgpu: async (options) => ours('webgpu', await load({ ...options, backend: await openWebGpu() })),
  remote: (options) => remote('remote', options, 'remote'),
  relay: (options) => remote('relay', options, 'relay'),
  'llama.cpp': ({ model, context }) => llamaCpp(model, context),
  'mlx-lm': ({ mlxModel }) => mlx(mlxModel),
}

async function load({
  model,
  context,
  backend,
}: ContenderOptions & Pick<NonNullable<Parameters<typeof loadEngine>[1]>, 'backend'>): Promise<Engine> {
  const predictor = await shippedPredictor(model, 'large')
  return loadEngine(model, { context, prefixBytes: 0, ...(predictor && { predictor }), ...(backend && { backend }) })
}

function ours(name: string, engine: Engine): Contender {
  return {
    name,
    same: true,
    modes: engine.prediction ? ['exact', 'predicted', 'refined'] : ['exact'],
    first: (prompt, prefill) => firstOf(engine.submit({ prompt, prefill, maxTokens: 1, ignoreEos: true })),
    async together(prompts) {
      const begun = performance.now()
      await Promise.all(prompts.map((prompt) => firstOf(engine.submit({ prompt, maxTokens: 1, ignoreEos: true }))))
      return performance.now() - begun
    },
    close: () => engine.close(),
  }
}

/** Opens an edge on one thread whose prompts a companion reads. */
async function remote(name: string, options: ContenderOptions, always: Way): Promise<Contender> {
  const engine = await loadEngine(options.model, { context: options.context, threads: 1 })
  const far = options.companion ?? (await startCompanion(options.model))
  const client = new RemoteCompanion({ url: far.url, id: 'edge', key: keyBytes(far.key) }, fetch, {
    firstMs: 600_000,
    stallMs: 600_000,
  })
  const companions = new StaticCompanions([{ name: 'companion', client }])
  const routed = new Routed(engine, { companions, always, codec: 'int8' })
  return {
    name: `${name}, ${options.companion ? new URL(far.url).host : 'loopback'}`,
    // K and V are sent in int8.
    same: always === 'relay',
    modes: ['exact'],
    async first(prompt) {
      // With a tenant of its own, neither end has its prompt in a cache.
      const answer = routed.submit({ prompt, tenant: crypto.randomUUID(), maxTokens: 1, ignoreEos: true })
      const first = await firstOf(answer)
      const { way, fell_back } = answer.route
      if (way !== always || fell_back) throw new Error(`the prompt was read here: ${fell_back ?? way}`)
      return first
    },
    async close() {
      if ('stop' in far) (far as { stop(): void }).stop()
      await engine.close()
    },
  }
}

async function firstOf(answer: AsyncIterable<{ readonly type: string; readonly id?: number }>): Promise<First> {
  const [begun, cpu] = [performance.now(), cpuMs()]
  let first: First | undefined
  for await (const { type, id } of answer)
    if (type === 'token') first ??= { ttft_ms: performance.now() - begun, cpu_ms: cpuMs() - cpu, id: defined(id) }
  if (!first) throw new Error('the answer has no token')
  return first
}
