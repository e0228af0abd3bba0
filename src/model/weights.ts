/** The tensors a model must have, by their canonical names, and what the files call them. */
import { ForetokenError } from '../base/errors.ts'
import type { ModelConfig, TensorInfo } from '../base/model.ts'
import { layerShapes } from './config.ts'
import { openElmPlaces, type Place } from './families/openelm.ts'
import { show } from './json.ts'

/** `part` says which rows of the Hugging Face tensor it is, where that holds more than this one. */
interface Expected extends Place {
  readonly name: string
  readonly gguf: string
  readonly rows: number
  readonly cols: number
}

/** Every tensor of a model of this shape. Vectors have one row. */
export function expectedTensors(config: ModelConfig): Expected[] {
  const { hidden, headDim, vocab, architecture } = config
  const tensor = (name: string, gguf: string, huggingFace: string, rows: number, cols: number): Expected => ({
    name,
    gguf: `${gguf}.${name.endsWith('Bias') ? 'bias' : 'weight'}`,
    huggingFace: `${huggingFace}.${name.endsWith('Bias') ? 'bias' : 'weight'}`,
    rows,
    cols,
  })
  const all = [
    tensor('embed', 'token_embd', 'model.embed_tokens', config.tailFrom ?? vocab, hidden),
    tensor('norm', 'output_norm', 'model.norm', 1, hidden),
  ]
  if (config.tailFrom !== undefined)
    all.push(tensor('embedTail', 'token_embd_tail', 'model.embed_tokens_tail', vocab - config.tailFrom, hidden))
  if (!config.tiedEmbedding) all.push(tensor('head', 'output', 'lm_head', vocab, hidden))
  layerShapes(config).forEach(({ heads, kvHeads, intermediate }, i) => {
    const layer = (name: string, gguf: string, huggingFace: string, rows: number, cols: number) =>
      all.push(tensor(`layers.${i}.${name}`, `blk.${i}.${gguf}`, `model.layers.${i}.${huggingFace}`, rows, cols))
    layer('attnNorm', 'attn_norm', 'input_layernorm', 1, hidden)
    layer('q', 'attn_q', 'self_attn.q_proj', heads * headDim, hidden)
    layer('k', 'attn_k', 'self_attn.k_proj', kvHeads * headDim, hidden)
    layer('v', 'attn_v', 'self_attn.v_proj', kvHeads * headDim, hidden)
    if (architecture === 'qwen2') {
      layer('qBias', 'attn_q', 'self_attn.q_proj', 1, heads * headDim)
      layer('kBias', 'attn_k', 'self_attn.k_proj', 1, kvHeads * headDim)
      layer('vBias', 'attn_v', 'self_attn.v_proj', 1, kvHeads * headDim)
    }
    if (architecture === 'qwen3' || config.qkNorm) {
      layer('qNorm', 'attn_q_norm', 'self_attn.q_norm', 1, headDim)
      layer('kNorm', 'attn_k_norm', 'self_attn.k_norm', 1, headDim)
    }
    layer('o', 'attn_output', 'self_attn.o_proj', hidden, heads * headDim)
    layer('ffnNorm', 'ffn_norm', 'post_attention_layernorm', 1, hidden)
    layer('gate', 'ffn_gate', 'mlp.gate_proj', intermediate, hidden)
    layer('up', 'ffn_up', 'mlp.up_proj', intermediate, hidden)
    layer('down', 'ffn_down', 'mlp.down_proj', hidden, intermediate)
  })
  if (architecture !== 'openelm') return all
  const places = openElmPlaces(config)
  return all.map((expected) => ({ ...expected, ...places.get(expected.name) }))
}

/**
 * The model's tensors by canonical name. `found` is what the file has, by its own names; `ignore` names what it may
 * have besides. Throws `bad_model` for a missing, unexpected or misshapen one.
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
    const { rows, cols, part } = expected
    const whole = part?.of ?? rows
    if (!tensor) throw new ForetokenError('bad_model', `${where} has no tensor ${name} (${whole} x ${cols})`)
    if (tensor.rows !== whole || tensor.cols !== cols)
      throw new ForetokenError(
        'bad_model',
        `${where}: tensor ${name} is ${tensor.rows} x ${tensor.cols}; its config asks for ${whole} x ${cols}`,
      )
    used.add(name)
    tensors.set(expected.name, part ? rowsOf(tensor, part.from, rows) : tensor)
  }
  for (const name of found.keys())
    if (!used.has(name) && !ignore(name))
      throw new ForetokenError(
        'unsupported',
        `${where} has a tensor that a ${config.architecture} model has no use for: ${show(name).slice(1, -1)}`,
      )
  return tensors
}

/** Rows `from`..`from + rows` - 1 of a tensor as a tensor: they lie together, since it is row-major. */
export function rowsOf(tensor: TensorInfo, from: number, rows: number): TensorInfo {
  const rowBytes = tensor.bytes / tensor.rows
  const name = `${tensor.name} rows ${from}..${from + rows - 1}`
  return { ...tensor, name, rows, offset: tensor.offset + from * rowBytes, bytes: rows * rowBytes }
}
