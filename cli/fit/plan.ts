/** Makes the predictor's plan from the flags. */
import type { Engine } from '../../node/index.ts'
import type { PredictorPlan, SharedPlan } from '../../src/predict/plan.ts'
import type { Flags } from '../flags.ts'
import { UsageError } from '../parse.ts'

/**
 * The best plan for the default model's 30 layers: 0-4 are shared, and 15-18 carry recall. Other
 * models use the same proportions.
 */
const known = { layers: 30, shared: 5, run: { from: 15, to: 19 } }

export type Ends = Pick<SharedPlan, 'sinks' | 'window' | 'windowShare'>

export function endsOf(flags: Flags): Ends {
  return { sinks: 4, window: flags.w ?? 48, windowShare: flags['w-share'] ?? 0.1667 }
}

export function planOf(engine: Engine, flags: Flags): PredictorPlan {
  const { layers } = engine.archive.config
  const { auxiliary } = engine.workbench
  if (!auxiliary) return sharedPlan(layers, flags)
  for (const flag of ['m', 'run', 'taps'] as const)
    if (flags[flag] !== undefined)
      throw new UsageError(
        `--${flag} is for predictors that share the base's layers, and cannot be combined with --aux`,
      )
  // Layers at the same relative depth: the paper's maps of early layers (table 1) differ from this
  // by one.
  const map = Array.from({ length: layers }, (_, layer) => Math.round((layer * auxiliary.config.layers) / layers))
  return { kind: 'separate', map, ...endsOf(flags) }
}

function sharedPlan(layers: number, flags: Flags): SharedPlan {
  const scaled = (layer: number) => Math.round((layer * layers) / known.layers)
  const shared = flags.m ?? Math.max(1, scaled(known.shared))
  const runs = flags.run?.map((text) => runOf(text)) ?? [
    { from: scaled(known.run.from), to: Math.max(scaled(known.run.from) + 1, scaled(known.run.to)) },
  ]
  const taps = flags.taps ?? 0
  const sound = runs.filter(({ from, to }) => from > shared && to > from && to <= layers)
  if (flags.run && sound.length < runs.length)
    throw new UsageError(`--run takes layers after the ${shared} shared ones and below ${layers}, such as 16-18`)
  return { kind: 'shared', shared, runs: sound, taps: [taps, ...sound.map(() => taps)], ...endsOf(flags) }
}

/** Returns the layers of all texts: `0-3` and `7` are layers 0, 1, 2, 3 and 7. */
export function layersOf(texts: readonly string[], flag: string): number[] {
  return texts.flatMap((text) => {
    const { from, to } = runOf(text, flag)
    return Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i)
  })
}

/** Parses a range of layers: `16-18` is layers 16, 17 and 18. */
function runOf(text: string, flag = '--run'): { from: number; to: number } {
  const [, from, to = from] = /^(\d+)(?:-(\d+))?$/.exec(text) ?? []
  if (from === undefined) throw new UsageError(`${flag} takes layers such as 16-18, not "${text}"`)
  return { from: Number(from), to: Number(to) + 1 }
}
