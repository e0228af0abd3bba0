/** The forward follows any recipe: against a plain forward in f64 that reads the same recipe, whatever family could ask for it. */
import { afterAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import type { Backend } from '../../src/backend/backend.ts'
import { createWasmBackend } from '../../src/backend/wasm/backend.ts'
import type { LayerSpec, ModelArchive, ModelSpec, RopeSpec, TensorInfo } from '../../src/base/model.ts'
import { specOf } from '../../src/model/families/index.ts'
import { LoadedModel } from '../../src/model/forward.ts'
import { openModel } from '../../src/model/open.ts'
import { memorySource } from '../../src/model/source.ts'
import { random } from '../helpers/random.ts'
import { seed } from '../helpers/seed.ts'
import { tinyFolder } from '../helpers/tiny-folder.ts'
import { softwareBackend } from '../helpers/webgpu.ts'

const hidden = 32
const ids = Array.from({ length: 21 }, (_, i) => 5 + ((i * 37) % 240))
const wasm = await loadWasm('simd128')

const opened: Backend[] = []
afterAll(() => Promise.all(opened.map((backend) => backend.close())))

/** A llama of two layers with every further tensor that a recipe may ask for. */
async function everything(): Promise<{ archive: ModelArchive; values: Map<string, Float32Array> }> {
  const rng = random(seed)
  const archive = await openModel(tinyFolder())
  const tensors = new Map<string, TensorInfo>(archive.tensors)
  const add = (name: string, cols: number, about: number) => {
    const floats = rng.floats(cols).map((value) => about + 0.2 * value)
    const bytes = new Uint8Array(floats.buffer)
    const source = memorySource(name, bytes)
    tensors.set(name, { name, type: 'f32', rows: 1, cols, source, offset: 0, bytes: bytes.length })
  }
  for (const layer of [0, 1]) {
    for (const name of ['attnOutNorm', 'ffnOutNorm', 'oBias'])
      add(`layers.${layer}.${name}`, hidden, name === 'oBias' ? 0 : 1)
    for (const name of ['qNorm', 'kNorm']) add(`layers.${layer}.${name}`, 8, 1)
    const matrix = (name: string, rows: number, cols: number) => {
      const bytes = new Uint8Array(rng.floats(rows * cols).map((value) => value / Math.sqrt(cols)).buffer)
      const tensor = { name, type: 'f32', source: memorySource(name, bytes), offset: 0, bytes: bytes.length } as const
      tensors.set(`layers.${layer}.${name}`, { ...tensor, rows, cols })
    }
    matrix('convIn', 3 * hidden, hidden)
    matrix('convOut', hidden, hidden)
    for (const taps of [2, 3]) {
      add(`layers.${layer}.conv${taps}`, taps * hidden, 0.3)
      const name = `layers.${layer}.conv${taps}`
      tensors.set(name, { ...tensors.get(name)!, columns: taps })
    }
    add(`layers.${layer}.qWideNorm`, 32, 1)
    add(`layers.${layer}.kWideNorm`, 16, 1)
    for (const [name, cols] of [
      ['qBias', 32],
      ['kBias', 16],
      ['vBias', 16],
    ] as const)
      add(`layers.${layer}.${name}`, cols, 0)
  }
  const values = new Map<string, Float32Array>()
  for (const [name, { source, offset, bytes }] of tensors) {
    const raw = new Uint8Array(bytes)
    await source.read(offset, raw)
    values.set(name, new Float32Array(raw.buffer))
  }
  return { archive: { ...archive, tensors }, values }
}

const { archive, values } = await everything()
const llama = specOf(archive.config)
const plain = llama.layers[0]!
const other: RopeSpec = { headDim: 8, theta: 300, pairs: 'adjacent', divisors: [1, 2, 3, 4] }
const { rope: _, ...withoutRope } = plain

const recipes: Record<string, ModelSpec> = {
  'as a llama': llama,
  'norms behind each half': layers({ norms: { ...plain.norms, afterAttention: true, afterMlp: true } }),
  'norms behind the halves only': layers({
    norms: { beforeAttention: false, afterAttention: true, beforeMlp: false, afterMlp: true },
  }),
  'a norm behind attention only': layers({ norms: { ...plain.norms, afterAttention: true } }),
  'biases everywhere': layers({ biases: { qkv: true, output: true } }),
  'norms on the heads': layers({ qkNorms: 'heads' }),
  'norms on all heads at once': layers({ qkNorms: 'rows' }),
  'norms on the heads as they are turned': layers({ qkNorms: 'heads', qkNormsTurned: true }),
  gelu: layers({ activation: 'gelu' }),
  'scales of residual and attention': layers({ residualScale: 0.4, attention: { scale: 0.7 } }),
  'a window': layers({ attention: { scale: 0.5, window: 4 } }),
  'layers that differ': {
    ...llama,
    layers: [
      { ...plain, attention: { scale: 0.3, window: 5 }, activation: 'gelu' },
      { ...plain, rope: other, residualScale: 2 },
    ],
  },
  'a layer without rotation': { ...llama, layers: [withoutRope, { ...plain, rope: other }] },
  'scores with a soft cap': layers({ attention: { scale: 1.5, softCap: 0.8 } }),
  'logits with a soft cap': { ...llama, logitSoftCap: 0.5 },
  'a part of each head that turns': layers({ rope: { ...other, divisors: [2, 1.5, 1], turned: 6, amplitude: 1.2 } }),
  'a part of each head that turns by halves': layers({ rope: { headDim: 8, theta: 300, pairs: 'half', turned: 2 } }),
  'scales of embedding and logits': { ...llama, embeddingScale: 5.5, logitScale: 0.125 },
  'a convolution beside attention': {
    ...llama,
    layers: [
      { ...plain, convolution: { taps: 3 } },
      { ...plain, qkNorms: 'heads' },
    ],
  },
  'convolutions alone, with what else a layer may have': layers({
    convolution: { taps: 2 },
    norms: { beforeAttention: true, afterAttention: true, beforeMlp: true, afterMlp: true },
    residualScale: 0.7,
    activation: 'gelu',
  }),
  everything: {
    ...layers({
      norms: { beforeAttention: true, afterAttention: true, beforeMlp: true, afterMlp: true },
      biases: { qkv: true, output: true },
      qkNorms: 'heads',
      activation: 'gelu',
      residualScale: 1.5,
      rope: { ...other, divisors: [1, 2, 3], turned: 6, amplitude: 0.9 },
      attention: { scale: 0.6, window: 7, softCap: 2 },
    }),
    embeddingScale: 2,
    logitScale: 3,
    logitSoftCap: 20,
  },
}

function layers(change: Partial<LayerSpec>): ModelSpec {
  return { ...llama, layers: [0, 1].map(() => ({ ...plain, ...change })) }
}

/** Gives each convolution the weights for its taps. */
function withTaps(archive: ModelArchive, spec: ModelSpec): ModelArchive {
  const tensors = new Map(archive.tensors)
  spec.layers.forEach(({ convolution }, layer) => {
    if (convolution) tensors.set(`layers.${layer}.conv`, tensors.get(`layers.${layer}.conv${convolution.taps}`)!)
  })
  return { ...archive, tensors }
}

/** Gives q and k the norms over all heads in place of those over one. */
function withWideNorms(archive: ModelArchive): ModelArchive {
  const tensors = new Map(archive.tensors)
  for (const layer of [0, 1])
    for (const name of ['q', 'k'])
      tensors.set(`layers.${layer}.${name}Norm`, tensors.get(`layers.${layer}.${name}WideNorm`)!)
  return { ...archive, tensors }
}

async function logitsOf(backend: Backend, spec: ModelSpec, lengths: readonly number[]): Promise<Float32Array> {
  const normed = spec.layers[0]?.qkNorms === 'rows' ? withWideNorms(archive) : archive
  const model = await LoadedModel.load(backend, withTaps(normed, spec), {
    passTokens: 32,
    logitRows: 2,
    kv: 'f32',
    spec,
  })
  const pages = model.pool.add(2)
  let logits = new Float32Array(0)
  let past = 0
  for (const length of lengths) {
    const pass = {
      ids: ids.slice(past, past + length),
      segments: [{ start: 0, length, past, pages }],
      outputs: [length - 1],
    }
    logits = new Float32Array(await model.forward(pass))
    past += length
  }
  return logits
}

describe(`a recipe (seed ${seed})`, async () => {
  test.each(Object.entries(recipes))('%s', async (_, spec) => {
    const backend = await createWasmBackend({ modules: wasm, build: 'simd128' })
    opened.push(backend)
    near(await logitsOf(backend, spec, [21]), oracle(spec))
    // The bits are the same whole and in chunks.
    expect(await logitsOf(backend, spec, [6, 14, 1])).toEqual(await logitsOf(backend, spec, [21]))
  })

  test('all of them, on a GPU', async () => {
    const backend = await softwareBackend()
    opened.push(backend)
    for (const name of ['everything', 'a convolution beside attention'])
      near(await logitsOf(backend, recipes[name]!, [6, 15]), oracle(recipes[name]!))
  })

  test('whose norms are stored as the difference from 1 adds 1 when it is loaded', async () => {
    const backend = await createWasmBackend({ modules: wasm, build: 'simd128' })
    opened.push(backend)
    const less = new Map(archive.tensors)
    for (const [name, tensor] of archive.tensors) {
      if (tensor.rows !== 1 || !/[nN]orm$/.test(name)) continue
      const floats = values.get(name)!.map((value) => value - 1)
      less.set(name, { ...tensor, source: memorySource(name, new Uint8Array(floats.buffer)), offset: 0, plus: 1 })
    }
    const options = { passTokens: 32, logitRows: 2, kv: 'f32' } as const
    const logits: Float32Array[] = []
    for (const each of [archive, { ...archive, tensors: less }]) {
      const model = await LoadedModel.load(backend, each, options)
      const segments = [{ start: 0, length: 21, past: 0, pages: model.pool.add(2) }]
      logits.push(await model.forward({ ids, segments, outputs: [20] }))
    }
    near(logits[1]!, Array.from(logits[0]!))
  })
})

function near(got: Float32Array, want: readonly number[]): void {
  const size = want.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  // About 100 operations of f32 one after the other, each off by 2^-24 of what it handles.
  want.forEach((value, i) => {
    expect(Math.abs(got[i]! - value), `logit ${i}: ${got[i]}, want ${value}`).toBeLessThan(2e-4 * Math.max(1, size))
  })
}

const capped = (value: number, cap?: number) => (cap ? cap * Math.tanh(value / cap) : value)

/** Returns logits after the last of `ids`. */
function oracle(spec: ModelSpec): number[] {
  const { heads, kvHeads, intermediate } = plain
  const headDim = 8
  const weight = (name: string) => Array.from(values.get(name)!)
  const times = (x: readonly number[], name: string): number[] => {
    const w = weight(name)
    const rows = w.length / x.length
    return Array.from({ length: rows }, (_, row) =>
      x.reduce((sum, value, i) => sum + value * w[row * x.length + i]!, 0),
    )
  }
  const norm = (x: readonly number[], w: readonly number[]) => {
    const rms = Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length + spec.rmsEps)
    return x.map((value, i) => (value / rms) * w[i]!)
  }
  const plus = (x: readonly number[], y: readonly number[], factor = 1) => x.map((value, i) => value + factor * y[i]!)
  /** c * convolution(b * x) of each position, from b, c and x side by side. */
  const convolve = (projected: readonly (readonly number[])[], at: string, taps: number) => {
    const w = weight(`${at}.conv${taps}`)
    const part = (row: readonly number[], index: number) => row.slice(index * hidden, (index + 1) * hidden)
    const products = projected.map((row) => part(row, 0).map((value, i) => value * part(row, 2)[i]!))
    return projected.map((row, position) =>
      part(row, 1).map((c, channel) => {
        const terms = Array.from({ length: taps }, (_, tap) => {
          return w[channel * taps + tap]! * (products[position - taps + 1 + tap]?.[channel] ?? 0)
        })
        return c * terms.reduce((sum, term) => sum + term, 0)
      }),
    )
  }
  const split = (x: readonly number[]) =>
    Array.from({ length: x.length / headDim }, (_, h) => x.slice(h * headDim, (h + 1) * headDim))
  const turn = (x: readonly number[], position: number, rope: RopeSpec) => {
    const { theta, pairs, divisors, turned = headDim, amplitude = 1 } = rope
    const out = [...x]
    for (let f = 0; f < turned / 2; f++) {
      const angle = (position * theta ** ((-2 * f) / turned)) / (divisors?.[f] ?? 1)
      const [a, b] = pairs === 'half' ? [f, f + turned / 2] : [2 * f, 2 * f + 1]
      out[a] = amplitude * (x[a]! * Math.cos(angle) - x[b]! * Math.sin(angle))
      out[b] = amplitude * (x[a]! * Math.sin(angle) + x[b]! * Math.cos(angle))
    }
    return out
  }
  const embedding = weight('embed')
  let states = ids.map((id) =>
    embedding.slice(id * hidden, (id + 1) * hidden).map((value) => value * spec.embeddingScale),
  )
  spec.layers.forEach((layer, index) => {
    const at = `layers.${index}`
    const { norms, biases, rope, attention, residualScale } = layer
    const project = (x: readonly number[], name: string) => {
      const out = times(x, `${at}.${name}`)
      return biases.qkv ? plus(out, weight(`${at}.${name}Bias`)) : out
    }
    const turned = (x: readonly number[], name: string, position: number) => {
      const heads = split(layer.qkNorms === 'rows' ? norm(x, weight(`${at}.${name}WideNorm`)) : x)
      const normed = (head: readonly number[]) =>
        layer.qkNorms === 'heads' ? norm(head, weight(`${at}.${name}Norm`)) : head
      const rotated = (head: readonly number[]) => (rope ? turn(head, position, rope) : head)
      return heads.map((head) => (layer.qkNormsTurned ? normed(rotated(head)) : rotated(normed(head))))
    }
    const inputs = states.map((x) => (norms.beforeAttention ? norm(x, weight(`${at}.attnNorm`)) : x))
    const { convolution } = layer
    const convolved =
      convolution &&
      convolve(
        inputs.map((x) => times(x, `${at}.convIn`)),
        at,
        convolution.taps,
      )
    const added = (x: readonly number[], out: readonly number[]) =>
      plus(x, norms.afterAttention ? norm(out, weight(`${at}.attnOutNorm`)) : out, residualScale)
    const keys = inputs.map((x, position) => turned(project(x, 'k'), 'k', position))
    const vectors = inputs.map((x) => split(project(x, 'v')))
    states = states.map((x, position) => {
      const first = attention.window ? Math.max(0, position + 1 - attention.window) : 0
      if (convolved) return added(x, times(convolved[position]!, `${at}.convOut`))
      const attended = turned(project(inputs[position]!, 'q'), 'q', position).flatMap((q, head) => {
        const kv = Math.floor((head * kvHeads) / heads)
        const scores = keys
          .slice(first, position + 1)
          .map((key) => attention.scale * q.reduce((sum, value, d) => sum + value * key[kv]![d]!, 0))
          .map((score) => capped(score, attention.softCap))
        const top = Math.max(...scores)
        const weights = scores.map((score) => Math.exp(score - top))
        const total = weights.reduce((sum, value) => sum + value, 0)
        return Array.from({ length: headDim }, (_, d) =>
          weights.reduce((sum, value, i) => sum + (value / total) * vectors[first + i]![kv]![d]!, 0),
        )
      })
      let out = times(attended, `${at}.o`)
      if (biases.output) out = plus(out, weight(`${at}.oBias`))
      return added(x, out)
    })
    states = states.map((x) => {
      const input = norms.beforeMlp ? norm(x, weight(`${at}.ffnNorm`)) : x
      const up = times(input, `${at}.up`)
      const gated = times(input, `${at}.gate`).map((g, i) => {
        const half = layer.activation === 'silu' ? g / 2 : Math.sqrt(2 / Math.PI) * (g + 0.044715 * g ** 3)
        return (g / 2) * (1 + Math.tanh(half)) * up[i]!
      })
      expect(gated).toHaveLength(intermediate)
      let out = times(gated, `${at}.down`)
      if (norms.afterMlp) out = norm(out, weight(`${at}.ffnOutNorm`))
      return plus(x, out, residualScale)
    })
  })
  return times(norm(states.at(-1)!, weight('norm')), 'embed').map((logit) =>
    capped(logit * spec.logitScale, spec.logitSoftCap),
  )
}
