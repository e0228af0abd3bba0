/** Makes the predictor's plan from the flags. */
import type { Engine } from '../../node/index.ts'
import type { LayerRange, PredictorPlan, SharedPlan } from '../../src/predict/plan.ts'
import type { Flags } from '../flags.ts'
import { UsageError } from '../parse.ts'

/**
 * The best plan for the default model's 30 layers: 0-4 are shared, and 15-18 carry recall. Other
 * models use the same proportions.
 */
const known = { layers: 30, shared: 5, run: { from: 15, to: 19 } }

export type Ends = Pick<SharedPlan, 'sinks' | 'window' | 'windowShare' | 'windowMost'>

export function endsOf(flags: Flags): Ends {
  const { w: window = 48, 'w-share': windowShare = 0.1667, 'w-most': windowMost } = flags
  if (windowMost !== undefined && windowMost < window)
    throw new UsageError(`--w-most ${windowMost} is less than the least window, ${window} (--w)`)
  return { sinks: 4, window, windowShare, ...(windowMost !== undefined && { windowMost }) }
}

export function planOf(engine: Engine, flags: Flags): PredictorPlan {
  const { layers } = engine.archive.config
  const { auxiliary } = engine.workbench
  if (!auxiliary) return sharedPlan(layers, flags)
  for (const flag of ['m', 'run', 'attention', 'taps'] as const)
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
  const shared = flags.m ?? Math.max(1, scaledTo(layers, known.shared))
  const given = flags.run?.map((text) => runOf(text))
  // A bridge follows each layer's attention, in place of its MLP.
  const attending: LayerRange[] = layersOf(Array.isArray(flags.attention) ? flags.attention : [], '--attention').map(
    (layer) => {
      return { from: layer, to: layer + 1, mlp: false }
    },
  )
  const whole = given ?? (attending.length > 0 ? [] : [defaultRun(layers)])
  const sound = [...whole.filter(({ from }) => from > shared), ...attending.filter(({ from }) => from >= shared)]
    .filter(({ from, to }) => to > from && to <= layers)
    .sort((a, b) => a.from - b.from)
  const twice = sound.find(({ from }, index) => index > 0 && from < (sound[index - 1]?.to ?? 0))
  if (twice) throw new UsageError(`layer ${twice.from} is run twice; name each layer once in --run or --attention`)
  if (given && sound.length < whole.length + attending.length)
    throw new UsageError(`--run takes layers after the ${shared} shared ones and below ${layers}, such as 16-18`)
  if (!given && attending.length > 0 && sound.length < attending.length)
    throw new UsageError(`--attention takes layers from ${shared} to ${layers - 1}, such as 16-18`)
  const taps = sound.map(() => flags.taps ?? 0)
  return { kind: 'shared', shared, runs: sound, taps: [flags.taps ?? 0, ...taps], ...endsOf(flags) }
}

function defaultRun(layers: number): LayerRange {
  const from = scaledTo(layers, known.run.from)
  return { from, to: Math.max(from + 1, scaledTo(layers, known.run.to)) }
}

function scaledTo(layers: number, layer: number): number {
  return Math.round((layer * layers) / known.layers)
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
