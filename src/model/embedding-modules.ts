/**
 * Reads the modules of sentence-transformers in a folder: the pooling of states, dense layers behind
 * it, and whether vectors are scaled (modules.json, 1_Pooling/config.json, 2_Dense/...).
 */
import type { ModelFiles } from '../base/bytes.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import { type EmbeddingSpec, type Pooling, poolings, type TensorInfo } from '../base/model.ts'
import { isObject, type Json, parseBoundedJson, readJson, show } from './json.ts'
import { jsonBounds, limits } from './limits.ts'
import { readSafetensors } from './safetensors.ts'
import { readText } from './source.ts'
import { denseNames } from './weights.ts'

export type ModulePooling = Pick<EmbeddingSpec, 'pooling' | 'refused' | 'normalize'>

export interface Modules {
  /** What the modules compute, or why it is not computed; undefined for a folder without modules. */
  readonly pooling: ModulePooling | undefined
  /** The weights of dense layers, in order, named as `expectedTensors` asks for them. */
  readonly dense: readonly TensorInfo[]
}

/** Reads the modules of a folder. Files that make no sense are the pooling's `refused`. */
export async function modulesOfFolder(files: ModelFiles): Promise<Modules> {
  try {
    const steps = await stepsOf(files)
    if (!steps) return { pooling: undefined, dense: [] }
    const dense: TensorInfo[] = []
    const pooling = await poolingOf(files, steps, dense)
    return { pooling, dense: pooling.refused === undefined ? dense : [] }
  } catch (error) {
    const { code, message } = asForetokenError(error)
    if (code !== 'bad_model' && code !== 'not_found' && code !== 'unsupported') throw error
    return { pooling: { refused: message, normalize: true }, dense: [] }
  }
}

/** A module of sentence-transformers: the last word of its class, and its folder. */
interface Step {
  readonly kind: string
  readonly path: string
}

/** Returns the modules of modules.json in order; undefined for a folder without them. */
async function stepsOf(files: ModelFiles): Promise<readonly Step[] | undefined> {
  const pooled = files.files.find((file) => /^\d+_Pooling\/config\.json$/.test(file))
  if (!files.files.includes('modules.json'))
    return pooled ? [{ kind: 'Pooling', path: pooled.slice(0, pooled.lastIndexOf('/')) }] : undefined
  const where = `${files.name}/modules.json`
  const text = await readText(await files.open('modules.json'), jsonBounds.config.bytes)
  const { modules } = parseBoundedJson(`{"modules":${text}}`, where, {
    ...jsonBounds.config,
    bytes: limits.template + 16,
  })
  if (!Array.isArray(modules)) throw new ForetokenError('bad_model', `${where} is not a list of modules`)
  return modules.map((module: unknown) => {
    const { type, path } = isObject(module) ? module : {}
    if (typeof type !== 'string' || typeof path !== 'string')
      throw new ForetokenError('bad_model', `${where} has a module without a type or a path: ${show(module)}`)
    return { kind: type.slice(type.lastIndexOf('.') + 1), path }
  })
}

/**
 * Returns what the modules behind the model compute, or why it is not computed. Adds the weights of
 * dense layers to `dense`.
 */
async function poolingOf(files: ModelFiles, steps: readonly Step[], dense: TensorInfo[]): Promise<ModulePooling> {
  let pooling: Pooling | undefined
  let normalize = false
  for (const { kind, path } of steps) {
    if (kind === 'Transformer') continue
    const file = `${path}/config.json`
    const isRead = (kind === 'Pooling' && !pooling) || (kind === 'Dense' && pooling && !normalize)
    if (isRead && !files.files.includes(file))
      return { refused: `modules.json: path of ${show(kind)} is ${show(path)}, and it has no file ${file}`, normalize }
    if (kind === 'Normalize' && pooling) normalize = true
    else if (kind === 'Pooling' && !pooling) {
      const config = await readJson(await files.open(file), jsonBounds.config)
      const { include_prompt: include = true, ...said } = config
      const odd = Object.entries({ ...flagsOf(said), include_prompt: include }).find(([, value]) => !isFlag(value))
      if (odd) return { refused: `${file}: ${odd[0]} is ${show(odd[1])}, not true or false`, normalize }
      const modes = modesOf(config)
      pooling = modes.length === 1 ? stNames[String(modes[0])] : undefined
      if (!pooling)
        return {
          refused: `${file}: its pooling is ${show(modes.join(' and '))}; ${poolings.join(', ')} are computed`,
          normalize,
        }
      if (include === false)
        return { refused: 'its pooling leaves out the tokens of the prompt, which is not computed', normalize }
    } else if (kind === 'Dense' && pooling && !normalize) {
      const layer = await denseOf(files, path, dense.length)
      if (typeof layer === 'string') return { refused: layer, normalize }
      dense.push(layer)
    } else return { refused: `modules.json has ${show(kind)}, which is not computed there`, normalize }
  }
  return { ...(pooling && { pooling }), normalize }
}

/** sentence-transformers' names of the poolings that are computed. */
const stNames: Readonly<Record<string, Pooling>> = { lasttoken: 'last', mean: 'mean', cls: 'cls' }

function isFlag(value: unknown): boolean {
  return typeof value === 'boolean' || value === null
}

/** Returns the flags of the older form. */
function flagsOf(config: Json): Json {
  return Object.fromEntries(Object.entries(config).filter(([key]) => key.startsWith('pooling_mode_')))
}

/** Returns the modes of a pooling, in the newer form of one text or a list, or the older one of flags. */
function modesOf(config: Json): readonly unknown[] {
  const { pooling_mode: mode } = config
  if (mode !== undefined) return [mode].flat()
  const flags = { cls_token: 'cls', mean_tokens: 'mean', lasttoken: 'lasttoken' }
  const set = Object.keys(flagsOf(config)).filter((key) => config[key] === true)
  return set.map((key) => key.slice('pooling_mode_'.length)).map((key) => flags[key as keyof typeof flags] ?? key)
}

/** The class of a dense layer without activation, by the last word of its name. */
const identity = /(^|\.)Identity$/

/** Returns the weight of dense layer `index`, or why it is not computed. Throws `bad_model`, `not_found`. */
async function denseOf(files: ModelFiles, path: string, index: number): Promise<TensorInfo | string> {
  const config = await readJson(await files.open(`${path}/config.json`), jsonBounds.config)
  const { activation_function: activation = 'Tanh', bias = true, use_residual: residual = false } = config
  const name = 'sentence_embedding'
  const { module_input_name: input = name, module_output_name: output = name } = config
  const said = `its ${path} has`
  if (!identity.test(String(activation)))
    return `${said} the activation ${show(activation)} (activation_function); dense layers without one are computed`
  if (bias !== false) return `${said} a bias, which is not computed`
  if (residual !== false) return `${said} a residual connection, which is not computed`
  if (input !== name || (output ?? name) !== name) return `${said} another input or output than ${name}`
  const [weight, ...rest] = await readSafetensors(await files.open(`${path}/model.safetensors`))
  if (weight?.name !== 'linear.weight' || rest.length > 0)
    throw new ForetokenError('bad_model', `${files.name}/${path}/model.safetensors has not just linear.weight`)
  for (const [key, size] of [
    ['in_features', weight.cols],
    ['out_features', weight.rows],
  ] as const)
    if ((config[key] ?? size) !== size)
      throw new ForetokenError(
        'bad_model',
        `${files.name}/${path}/config.json: ${key} is ${show(config[key])}, and its weight has ${size}`,
      )
  return { ...weight, name: denseNames(index).huggingFace }
}
