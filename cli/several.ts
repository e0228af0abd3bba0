/** Several models in one server: each is fetched before the server starts, and loaded when it is used. */
import type { HostContext } from '../edge/node.ts'
import { availableMemory, ModelPool, type PooledModel, type PredictorSize, reclaimMemory } from '../node/index.ts'
import { requireMemory } from '../node/memory.ts'
import { pathOf, sameKey } from '../node/same.ts'
import type { Flags } from './flags.ts'
import { UsageError } from './parse.ts'
import { displayName, servingOptions } from './serving.ts'
import { checkAny, openAny } from './session.ts'

/** A model as the command line names it, and as clients do. */
export interface Named {
  readonly model: string
  readonly name: string
}

/** Flags that belong to one model. */
const ofOneModel = ['predictor', 'reader', 'aux', 'prefix'] as const

/** How long after a model was unloaded its memory is collected, if no load waits for it, in milliseconds. */
const collectMs = 500

/**
 * Returns the names that clients use for the models of the command line; one that is named twice is one.
 * Throws `UsageError` if two have one name.
 */
export function namesOf(models: readonly string[]): readonly Named[] {
  const named = new Map<string, Named>()
  for (const model of models) {
    const name = displayName(model)
    const other = named.get(name)
    if (other && pathOf(other.model) !== pathOf(model))
      throw new UsageError(
        `${other.model} and ${model} are both called ${name}: rename one, since requests choose by name`,
      )
    if (!other) named.set(name, { model, name })
  }
  return [...named.values()]
}

/**
 * Throws `UsageError` if two names mean the same files: a model that is loaded twice takes twice its
 * memory. Rejects with what names without a meaning are refused with.
 */
export async function requireDistinct(models: readonly Named[]): Promise<void> {
  const seen = new Map<string, Named>()
  for (const one of models) {
    const key = await sameKey(one.model)
    const other = seen.get(key)
    if (other)
      throw new UsageError(
        `${other.model} and ${one.model} are the same model: name it once; {"aliases": {"${one.name}": "${other.name}"}} in the config of serve gives it another name`,
      )
    seen.set(key, one)
  }
}

/**
 * Fetches what is not here, after asking, checks each model as a load does, and resolves with the pool.
 * Rejects with what the checks of a model reject with.
 */
export async function openPool(
  models: readonly Named[],
  flags: Flags,
  signal: AbortSignal,
  size: PredictorSize,
): Promise<ModelPool<HostContext>> {
  const flag = ofOneModel.find((one) => flags[one] !== undefined)
  if (flag)
    throw new UsageError(
      models.length > 1
        ? `--${flag} belongs to one model, and this server has ${models.length}`
        : `--${flag} does not work with --keep and --idle, which load the model later`,
    )
  await requireDistinct(models)
  const pooled: PooledModel<HostContext>[] = []
  for (const { model, name } of models) pooled.push(await checkedModel(model, name, flags, signal, size))
  return new ModelPool(pooled, {
    ...(flags.keep !== undefined && { keep: flags.keep }),
    ...(flags.idle !== undefined && { idleMs: flags.idle }),
    room: availableMemory,
    reclaim(now) {
      if (now) reclaimMemory()
      // Collecting takes a while, and a model may be loading.
      else setTimeout(reclaimMemory, collectMs).unref()
    },
  })
}

async function checkedModel(
  model: string,
  name: string,
  flags: Flags,
  signal: AbortSignal,
  size: PredictorSize,
): Promise<PooledModel<HostContext>> {
  const own: Flags = { ...flags, model }
  const needed = await checkAny(own, signal, { use: 'any', ...(await servingOptions(own, size)) })
  // Weights and K and V lie in the memory of the GPU.
  if (flags.backend !== 'webgpu') requireMemory(name, needed)
  return {
    name,
    ...needed,
    load: async ({ signal }) => {
      // The pool has made room; what was unloaded for it may still count as used.
      const room = () => Number.POSITIVE_INFINITY
      const { engine } = await openAny(own, signal, {
        use: 'any',
        ...(await servingOptions(own, size)),
        room,
        signal,
      })
      return engine
    },
  }
}
