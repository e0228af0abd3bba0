/** Lists the tensors of a model by canonical name, with their names in files. */
import { ForetokenError } from '../base/errors.ts'
import type { ModelConfig, TensorInfo } from '../base/model.ts'
import type { TensorPlace, TensorSource } from './families/family.ts'
import { familyOf } from './families/index.ts'
import { show } from './json.ts'

/** A tensor that a model must have, and what files call it. Vectors have one row. */
interface Expected extends TensorSource {
  /** Canonical name: `embed`, `layers.0.q`. */
  readonly name: string
  readonly rows: number
  readonly cols: number
  /** Whether it is loaded as a vector, column by column, see `TensorInfo.columns`. */
  readonly flat?: boolean
}

/** Returns the canonical name of dense layer `index`, and its name among the tensors of a folder. */
export function denseNames(index: number): { readonly name: string; readonly huggingFace: string } {
  return { name: `dense.${index}`, huggingFace: `dense.${index}.weight` }
}

/** Returns every tensor of a model with this config, as its recipe asks for them. */
export function expectedTensors(config: ModelConfig): Expected[] {
  const { hidden, headDim, vocab, tailFrom } = config
  const family = familyOf(config)
  const all: Expected[] = []
  const add = (name: string, rows: number, cols: number, layer?: TensorPlace['layer'], flat = false) => {
    const source = family.tensor(name, { config, layer })
    all.push({ ...source, name: layer ? `layers.${layer.index}.${name}` : name, rows, cols, ...(flat && { flat }) })
  }
  add('embed', tailFrom ?? vocab, hidden)
  add('norm', 1, hidden)
  if (tailFrom !== undefined) add('embedTail', vocab - tailFrom, hidden)
  if (!config.tiedEmbedding) add('head', vocab, hidden)
  config.dense?.forEach((rows, index) => {
    const cols = config.dense?.[index - 1] ?? hidden
    // llama.cpp counts the modules of sentence-transformers, of which these are the third and fourth.
    all.push({ ...denseNames(index), gguf: `dense_${index + 2}.weight`, rows, cols })
  })
  family.spec(config).layers.forEach((spec, index) => {
    const { heads, kvHeads, intermediate, norms, biases, qkNorms, convolution } = spec
    const layer = (name: string, rows: number, cols: number, flat = false) =>
      add(name, rows, cols, { heads, kvHeads, intermediate, index }, flat)
    const [q, kv] = [heads * headDim, kvHeads * headDim]
    if (norms.beforeAttention) layer('attnNorm', 1, hidden)
    if (convolution) {
      layer('convIn', 3 * hidden, hidden)
      layer('conv', hidden, convolution.taps, true)
      layer('convOut', hidden, hidden)
    } else {
      layer('q', q, hidden)
      layer('k', kv, hidden)
      layer('v', kv, hidden)
      if (biases.qkv) {
        layer('qBias', 1, q)
        layer('kBias', 1, kv)
        layer('vBias', 1, kv)
      }
      if (qkNorms !== 'none') {
        layer('qNorm', 1, qkNorms === 'rows' ? q : headDim)
        layer('kNorm', 1, qkNorms === 'rows' ? kv : headDim)
      }
      layer('o', hidden, q)
      if (biases.output) layer('oBias', 1, hidden)
    }
    if (norms.afterAttention) layer('attnOutNorm', 1, hidden)
    if (norms.beforeMlp) layer('ffnNorm', 1, hidden)
    layer('gate', intermediate, hidden)
    layer('up', intermediate, hidden)
    layer('down', hidden, intermediate)
    if (norms.afterMlp) layer('ffnOutNorm', 1, hidden)
  })
  return all
}

/**
 * Returns the model's tensors by canonical name. `found` are the tensors of the file by its names;
 * `ignore` accepts further names. Throws `bad_model` for a missing or misshapen one, `unsupported`
 * for an unexpected one.
 */
export function nameTensors(
  config: ModelConfig,
  found: ReadonlyMap<string, TensorInfo>,
  naming: 'gguf' | 'huggingFace',
  where: string,
  ignore: (name: string) => boolean,
): Map<string, TensorInfo> {
  const tensors = new Map<string, TensorInfo>()
  const used = new Set<string>()
  for (const expected of expectedTensors(config)) {
    const name = expected[naming]
    const tensor = found.get(name)
    const { rows, cols, part, plus } = expected
    const whole = part?.of ?? rows
    if (!tensor) throw new ForetokenError('bad_model', `${where} has no tensor ${name} (${whole} x ${cols})`)
    if (tensor.rows !== whole || tensor.cols !== cols)
      throw new ForetokenError(
        'bad_model',
        `${where}: tensor ${name} is ${tensor.rows} x ${tensor.cols}; its config asks for ${whole} x ${cols}`,
      )
    used.add(name)
    const placed = flattened(part ? rowsOf(tensor, part.from, rows) : tensor, expected)
    tensors.set(expected.name, plus !== undefined && naming === 'huggingFace' ? { ...placed, plus } : placed)
  }
  for (const name of found.keys())
    if (!used.has(name) && !ignore(name))
      throw new ForetokenError(
        'unsupported',
        `${where} has a tensor that a ${config.architecture} model has no use for: ${show(name).slice(1, -1)}`,
      )
  return tensors
}

/** Returns a tensor as the vector that is loaded from it, if `expected` says so. */
export function flattened(tensor: TensorInfo, { flat }: Pick<Expected, 'flat'>): TensorInfo {
  const { rows, cols } = tensor
  return flat ? { ...tensor, rows: 1, cols: rows * cols, columns: cols } : tensor
}

/**
 * Returns rows `from`..`from + rows` - 1 of a tensor as a tensor; they are contiguous, since it is
 * row-major.
 */
export function rowsOf(tensor: TensorInfo, from: number, rows: number): TensorInfo {
  const rowBytes = tensor.bytes / tensor.rows
  const name = `${tensor.name} rows ${from}..${from + rows - 1}`
  return { ...tensor, name, rows, offset: tensor.offset + from * rowBytes, bytes: rows * rowBytes }
}
