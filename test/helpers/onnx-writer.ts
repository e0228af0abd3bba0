/**
 * Writes a Llama as ONNX with past and present K and V, from the same weights in f32: plain
 * operators of opset 17, and optimum's names (onnx/onnx, `onnx.proto3`, for the fields). K is kept
 * as in the Rust core: after RoPE, in the file's own order of pairs.
 */
import type { ModelArchive, TensorInfo } from '../../src/base/model.ts'
import { dequantize } from './blocks.ts'
import { Message } from './protobuf.ts'

export interface OnnxOptions {
  /** Leaves out the past, as in an export that cannot continue. */
  readonly withoutPast?: boolean
  /** Makes the mask say which row sees which, (batch, 1, n, past + n); it is added. */
  readonly maskOfRows?: boolean
  /** The maximum position. */
  readonly positions?: number
}

const [float, int64] = [1, 7]

/** Throws for models other than a plain Llama. */
export async function llamaOnnx({ config, tensors }: ModelArchive, options: OnnxOptions = {}): Promise<Uint8Array> {
  if (config.architecture !== 'llama' || config.perLayer || config.tailFrom !== undefined)
    throw new Error('only a plain Llama is written')
  const { layers, heads, kvHeads, headDim, hidden, rmsEps } = config
  const graph = new Graph()
  const group = heads / kvHeads
  const matrix = async (name: string) =>
    graph.floats(name, transposed(await valuesOf(tensors.get(name)!), tensors.get(name)!))
  const vector = async (name: string) =>
    graph.floats(name, { values: await valuesOf(tensors.get(name)!), dims: [tensors.get(name)!.cols] })
  const norm = (x: string, weight: string) => {
    const mean = graph.node('ReduceMean', [graph.node('Mul', [x, x])], { axes: [-1] })
    const root = graph.node('Sqrt', [graph.node('Add', [mean, graph.scalar(rmsEps)])])
    return graph.node('Mul', [graph.node('Div', [x, root]), weight])
  }
  const embed = tensors.get('embed')!
  const table = graph.floats('embed', { values: await valuesOf(embed), dims: [embed.rows, embed.cols] })
  const { cos, sin } = angles(graph, config, options.positions ?? 2048)
  // Query heads have one more axis.
  const mask = options.maskOfRows ? graph.node('Unsqueeze', ['attention_mask', graph.shape([1])]) : causalMask(graph)
  const split = (x: string, count: number) =>
    graph.node('Transpose', [graph.node('Reshape', [x, graph.shape([0, 0, count, headDim])])], { perm: [0, 2, 1, 3] })
  const rotated = (x: string) =>
    config.ropePairs === 'half'
      ? rotateHalves(graph, x, cos, sin, headDim)
      : rotateAdjacent(graph, x, cos, sin, headDim)

  let x = graph.node('Gather', [table, 'input_ids'])
  for (let layer = 0; layer < layers; layer++) {
    const at = `layers.${layer}`
    const h = norm(x, await vector(`${at}.attnNorm`))
    const q = rotated(split(graph.node('MatMul', [h, await matrix(`${at}.q`)]), heads))
    const k = rotated(split(graph.node('MatMul', [h, await matrix(`${at}.k`)]), kvHeads))
    const v = split(graph.node('MatMul', [h, await matrix(`${at}.v`)]), kvHeads)
    const kept = (part: string, now: string) =>
      options.withoutPast
        ? now
        : graph.node('Concat', [`past_key_values.${layer}.${part}`, now], { axis: 2 }, `present.${layer}.${part}`)
    const [allK, allV] = [kept('key', k), kept('value', v)]
    // Query heads of one KV head have an axis of their own, over which K and V are shared.
    const grouped = graph.node('Reshape', [q, graph.shape([0, kvHeads, group, -1, headDim])])
    const shared = (one: string) => graph.node('Unsqueeze', [one, graph.shape([2])])
    const products = graph.node('MatMul', [grouped, graph.node('Transpose', [shared(allK)], { perm: [0, 1, 2, 4, 3] })])
    const scores = graph.node('Add', [graph.node('Mul', [products, graph.scalar(1 / Math.sqrt(headDim))]), mask])
    const attended = graph.node('MatMul', [graph.node('Softmax', [scores], { axis: -1 }), shared(allV)])
    const beside = graph.node('Transpose', [graph.node('Reshape', [attended, graph.shape([0, heads, -1, headDim])])], {
      perm: [0, 2, 1, 3],
    })
    const joined = graph.node('Reshape', [beside, graph.shape([0, 0, heads * headDim])])
    x = graph.node('Add', [x, graph.node('MatMul', [joined, await matrix(`${at}.o`)])])
    const f = norm(x, await vector(`${at}.ffnNorm`))
    const gate = graph.node('MatMul', [f, await matrix(`${at}.gate`)])
    const active = graph.node('Mul', [gate, graph.node('Sigmoid', [gate])])
    const wide = graph.node('Mul', [active, graph.node('MatMul', [f, await matrix(`${at}.up`)])])
    x = graph.node('Add', [x, graph.node('MatMul', [wide, await matrix(`${at}.down`)])])
  }
  const head = await matrix(config.tiedEmbedding ? 'embed' : 'head')
  graph.node('MatMul', [norm(x, await vector('norm')), head], {}, 'logits')
  for (const name of ['input_ids', 'position_ids']) graph.input(name, int64, ['batch', 'n'])
  if (options.maskOfRows) graph.input('attention_mask', float, ['batch', 1, 'n', 'all'])
  else graph.input('attention_mask', int64, ['batch', 'all'])
  graph.output('logits', float, ['batch', 'n', config.vocab])
  for (let layer = 0; layer < layers && !options.withoutPast; layer++)
    for (const part of ['key', 'value']) {
      graph.input(`past_key_values.${layer}.${part}`, float, ['batch', kvHeads, 'past', headDim])
      graph.output(`present.${layer}.${part}`, float, ['batch', kvHeads, 'all', headDim])
    }
  if (hidden !== embed.cols) throw new Error('the embedding has another width')
  return graph.model()
}

class Graph {
  readonly #message = new Message().text(2, 'llama')
  #names = 0

  node(
    op: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, number | readonly number[]>> = {},
    output = `t${this.#names++}`,
  ): string {
    const node = new Message()
    for (const input of inputs) node.text(1, input)
    node.text(2, output).text(4, op)
    for (const [name, value] of Object.entries(attributes)) {
      const attribute = new Message().text(1, name)
      if (typeof value === 'number') attribute.int(3, value).int(20, 2)
      else {
        for (const one of value) attribute.int(8, one)
        attribute.int(20, 7)
      }
      node.message(5, attribute)
    }
    this.#message.message(1, node)
    return output
  }

  floats(name: string, { values, dims }: { readonly values: Float32Array; readonly dims: readonly number[] }): string {
    return this.#constant(
      `${name} w${this.#names++}`,
      float,
      dims,
      new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
    )
  }

  scalar(value: number): string {
    return this.floats('scalar', { values: Float32Array.of(value), dims: [] })
  }

  shape(values: readonly number[], dims = [values.length]): string {
    return this.#constant(
      `shape w${this.#names++}`,
      int64,
      dims,
      new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
    )
  }

  input(name: string, type: number, dims: readonly (number | string)[]): void {
    this.#message.message(11, valueInfo(name, type, dims))
  }

  output(name: string, type: number, dims: readonly (number | string)[]): void {
    this.#message.message(12, valueInfo(name, type, dims))
  }

  /** Uses IR version 8 and opset 17. */
  model(): Uint8Array {
    return new Message()
      .int(1, 8)
      .text(2, 'foretoken')
      .message(8, new Message().text(1, '').int(2, 17))
      .message(7, this.#message)
      .whole()
  }

  #constant(name: string, type: number, dims: readonly number[], bytes: Uint8Array): string {
    const tensor = new Message()
    for (const dim of dims) tensor.int(1, dim)
    this.#message.message(5, tensor.int(2, type).text(8, name).raw(9, bytes))
    return name
  }
}

function valueInfo(name: string, type: number, dims: readonly (number | string)[]): Message {
  const shape = new Message()
  for (const dim of dims)
    shape.message(1, typeof dim === 'number' ? new Message().int(1, dim) : new Message().text(2, dim))
  return new Message().text(1, name).message(2, new Message().message(1, new Message().int(1, type).message(2, shape)))
}

/** Returns cosines and sines of the positions, (1, 1, n, headDim / 2). */
function angles(graph: Graph, { headDim, ropeTheta, ropeDivisors }: ModelArchive['config'], positions: number) {
  const half = headDim / 2
  const at = (turn: (angle: number) => number) =>
    Float32Array.from({ length: positions * half }, (_, index) => {
      const [position, f] = [Math.floor(index / half), index % half]
      return turn((position * ropeTheta ** ((-2 * f) / headDim)) / (ropeDivisors?.[f] ?? 1))
    })
  const picked = (name: string, values: Float32Array) =>
    graph.node('Unsqueeze', [
      graph.node('Gather', [graph.floats(name, { values, dims: [positions, half] }), 'position_ids']),
      graph.shape([1]),
    ])
  return { cos: picked('cos', at(Math.cos)), sin: picked('sin', at(Math.sin)) }
}

/**
 * Returns the mask, (1, 1, n, all): 0 where a key's position is not after the query's, else close
 * to minus infinity.
 */
function causalMask(graph: Graph): string {
  const all = graph.node('Gather', [graph.node('Shape', ['attention_mask']), graph.shape([1], [])])
  const keys = graph.node('Range', [graph.shape([0], []), all, graph.shape([1], [])])
  const queries = graph.node('Unsqueeze', ['position_ids', graph.shape([1, 2, 4])])
  const behind = graph.node('LessOrEqual', [keys, queries])
  return graph.node('Where', [behind, graph.scalar(0), graph.scalar(-1e9)])
}

function rotateHalves(graph: Graph, x: string, cos: string, sin: string, headDim: number): string {
  const part = (from: number, to: number) =>
    graph.node('Slice', [x, graph.shape([from]), graph.shape([to]), graph.shape([3])])
  const [a, b] = turned(graph, part(0, headDim / 2), part(headDim / 2, headDim), cos, sin)
  return graph.node('Concat', [a, b], { axis: 3 })
}

function rotateAdjacent(graph: Graph, x: string, cos: string, sin: string, headDim: number): string {
  const pairs = graph.node('Reshape', [x, graph.shape([0, 0, 0, headDim / 2, 2])])
  const of = (index: number) => graph.node('Gather', [pairs, graph.shape([index], [])], { axis: 4 })
  const [a, b] = turned(graph, of(0), of(1), cos, sin)
  const last = (one: string) => graph.node('Unsqueeze', [one, graph.shape([4])])
  return graph.node('Reshape', [graph.node('Concat', [last(a), last(b)], { axis: 4 }), graph.shape([0, 0, 0, headDim])])
}

function turned(graph: Graph, a: string, b: string, cos: string, sin: string): [string, string] {
  const times = (x: string, y: string) => graph.node('Mul', [x, y])
  return [graph.node('Sub', [times(a, cos), times(b, sin)]), graph.node('Add', [times(a, sin), times(b, cos)])]
}

async function valuesOf({ type, source, offset, bytes }: TensorInfo): Promise<Float32Array> {
  const raw = new Uint8Array(bytes)
  await source.read(offset, raw)
  return Float32Array.from(dequantize(type, raw))
}

/** Transposes (rows, cols) to (cols, rows), for MatMul. */
function transposed(values: Float32Array, { rows, cols }: TensorInfo) {
  const out = new Float32Array(values.length)
  for (let row = 0; row < rows; row++)
    for (let col = 0; col < cols; col++) out[col * rows + row] = values[row * cols + col]!
  return { values: out, dims: [cols, rows] }
}
