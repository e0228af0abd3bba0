/** K whose bias stands out in some channels: pages hold it balanced, attention computes the same, and int8 pages stay accurate. */
import { describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import type { ModelFiles } from '../../src/base/bytes.ts'
import type { KvType } from '../../src/base/kv.ts'
import { Engine, openModel } from '../../src/index.ts'
import {
  balanceHash,
  int8Warnings,
  keyBalance,
  keyBalances,
  queryFactors,
  undoBalance,
} from '../../src/model/key-balance.ts'
import { answer } from '../helpers/answers.ts'
import { float32 } from '../helpers/naive-balance.ts'
import { random } from '../helpers/random.ts'
import { folderTokens, tinyFolder } from '../helpers/tiny-folder.ts'

const wasm = await loadWasm('simd128')
const key = new Uint8Array(32).fill(7)
const seed = 11
const shape = { headDim: 8, kvHeads: 2, heads: 4, layers: 2 }

/** A Qwen 2 whose K has a bias in one channel of each head: 3 turns slowly, 1 faster. */
function biased(channel: number, bias: number, theta = 1e8): ModelFiles {
  return tinyFolder({
    architecture: 'qwen2',
    seed,
    config: { rope_theta: theta },
    tensors: (all) => {
      // Scores of some size, so that attention tells keys apart.
      for (const [name, { data }] of all)
        if (/self_attn\.[qk]_proj\.weight/.test(name)) for (let i = 0; i < data.length; i++) data[i]! *= 3
      for (let layer = 0; layer < shape.layers; layer++) {
        const { data } = all.get(`model.layers.${layer}.self_attn.k_proj.bias`)!
        for (let head = 0; head < shape.kvHeads; head++) data[head * shape.headDim + channel] = bias
      }
    },
  })
}

const rng = random(seed)
const ids = Array.from({ length: 120 }, () => Math.floor(rng.unit() * folderTokens))

async function scores(files: ModelFiles, kv: KvType): Promise<readonly number[]> {
  const engine = await Engine.load(files, { wasm, context: 160, kv, passTokens: 32 })
  const found = await engine.score(ids)
  await engine.close()
  return Array.from(found)
}

describe('the result of attention', () => {
  test.each([
    [3, 300],
    [3, -40],
    [1, 60],
  ])('equals that of the model as written: channel %i, bias %i', async (channel, bias) => {
    const files = biased(channel, bias)
    const expected = await float32(files, ids.slice(0, 40))
    const engine = await Engine.load(files, { wasm, context: 160, passTokens: 64 })
    const logits = (await engine.logits(ids.slice(0, 40))).slice(-folderTokens)
    await engine.close()
    const worst = logits.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0)
    // Keys of 300 in f32 leave 300 * 2^-24 of each product, of which 8 are summed in 2 layers.
    expect(worst).toBeLessThan(2e-3)
  })

  test('changes the NLL by less than 1 % in int8 pages, about as much as without a bias', async () => {
    // The root mean square change of log-probabilities by int8 pages.
    const moved = async (files: ModelFiles) => {
      const [exact, stored] = [await scores(files, 'f32'), await scores(files, 'int8')]
      const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)
      const apart = exact.map((value, i) => (value - stored[i]!) ** 2)
      return { rms: Math.sqrt(sum(apart) / apart.length), nll: Math.abs(sum(stored) / sum(exact) - 1) }
    }
    const [plain, large] = [await moved(biased(3, 0)), await moved(biased(3, 300))]
    expect(large.nll).toBeLessThan(0.01)
    expect(large.rms).toBeLessThan(4 * plain.rms)
  })

  test.each(['f32', 'f16', 'int8'] as const)(
    'is the same in a chunked prompt, after a cached or saved prefix, and with received K and V: %s',
    async (kv) => {
      const load = (passTokens: number) => Engine.load(biased(3, 300), { wasm, context: 160, kv, passTokens })
      const engines = await Promise.all([load(64), load(16), load(64), load(64)])
      const [engine, chunked, saved, remote] = engines as [Engine, Engine, Engine, Engine]
      const text = 'one two three four '.repeat(4)
      const prompt = engine.tokenize(text)
      expect(prompt.length).toBeGreaterThan(48)
      const tokens = async (one: Engine) => (await answer(one, { prompt, maxTokens: 16, ignoreEos: true })).tokens
      const first = await tokens(engine)
      expect(first.length).toBe(16)
      expect(await tokens(engine)).toEqual(first)
      expect(await tokens(chunked)).toEqual(first)
      await saved.loadPrefix(await engine.savePrefix(text))
      expect(await tokens(saved)).toEqual(first)
      const expected = remote.expectKv(prompt)
      const { from, to } = expected
      await expected.receive(engine.kvOf(prompt, { codec: kv, key, from, to }), { key })
      expected.release()
      expect((await answer(remote, { prompt, maxTokens: 1 })).done.cached_tokens).toBe(to)
      expect(await tokens(remote)).toEqual(first)
      for (const one of engines) await one.close()
    },
  )

  test('equals what the model answers step by step', async () => {
    const engine = await Engine.load(biased(3, 300), { wasm, context: 160, passTokens: 64 })
    const { done } = await answer(engine, { prompt: ids.slice(0, 40), maxTokens: 8, ignoreEos: true })
    const tokens = done.ids
    await engine.close()
    for (let at = 0; at < tokens.length; at++) {
      const expected = await float32(biased(3, 300), [...ids.slice(0, 40), ...tokens.slice(0, at)])
      // The likeliest by the definition, up to what f32 leaves.
      expect(expected[tokens[at]!]!).toBeGreaterThan(Math.max(...expected) - 2e-3)
    }
  })
})

describe('pages that store K otherwise are distinguished', () => {
  test('by the identity of K and V, which is unchanged for models without a large bias', async () => {
    const load = async (files: ModelFiles) => Engine.load(files, { wasm, context: 64 })
    const [plain, large] = [await load(biased(3, 1)), await load(biased(3, 300))]
    const [one, two] = [await plain.kvIdentity(), await large.kvIdentity()]
    expect(one.rope).not.toBe(two.rope)
    expect(await balanceHash([undefined, undefined], 'a')).toBeUndefined()
    await plain.close()
    await large.close()
  })

  test('and plain matrices of K are those of the model', async () => {
    const engine = await Engine.load(biased(3, 300), { wasm, context: 64 })
    const { layers } = await engine.workbench.cacheOf(ids.slice(0, 20), 'exact')
    await engine.close()
    // Channel 3 turns by next to nothing: it is about its bias in every token of every head.
    const { k } = layers[0]!
    for (let row = 0; row < 20 * shape.kvHeads; row++)
      expect(Math.abs(k[row * shape.headDim + 3]! - 300)).toBeLessThan(10)
  })
})

describe('a balance', () => {
  const config = async (files: ModelFiles) => (await openModel(files)).config

  test('is absent where no channel stands out', async () => {
    expect(keyBalance(new Float32Array(16).fill(5), await config(biased(3, 1)))).toBeUndefined()
  })

  test('has powers of two, equal within a pair, and bounds the remainder over all positions', async () => {
    const made = await config(biased(3, 1, 100))
    const bias = Float32Array.from({ length: 16 }, (_, i) => (i % 3 === 0 ? 250 - 40 * i : i))
    const { offset, factors, left } = keyBalance(bias, made)!
    for (let head = 0; head < 16; head += 8)
      for (let pair = 0; pair < 4; pair++) {
        const [i, j] = [head + pair, head + pair + 4]
        expect(factors[i]).toBe(factors[j])
        expect(Number.isInteger(Math.log2(factors[i]!))).toBe(true)
        if (offset[i] === 0 && offset[j] === 0 && factors[i] === 1) continue
        for (let position = 0; position <= made.maxContext; position++) {
          const angle = position * made.ropeTheta ** ((-2 * pair) / 8)
          const x = bias[i]! * Math.cos(angle) - bias[j]! * Math.sin(angle) + offset[i]!
          const y = bias[i]! * Math.sin(angle) + bias[j]! * Math.cos(angle) + offset[j]!
          expect(Math.hypot(x, y)).toBeLessThanOrEqual(left * 1.001)
          expect(Math.hypot(x, y) * factors[i]!).toBeLessThanOrEqual(8.01)
        }
      }
  })

  test('is undone by its inverse, and queries have the inverse factors of their K head', async () => {
    const bias = Float32Array.from({ length: 16 }, (_, i) => (i === 3 ? 300 : i === 9 ? -90 : 0))
    const balance = keyBalance(bias, await config(biased(3, 1, 100)))!
    const k = Float32Array.from({ length: 2 * 5 * 8 }, () => rng.normal())
    const held = k.map((value, at) => {
      const channel = Math.floor(at / 40) * 8 + (at % 8)
      return (value + balance.offset[channel]!) * balance.factors[channel]!
    })
    undoBalance(held, balance, 8)
    for (const [at, value] of held.entries()) expect(Math.abs(value - k[at]!)).toBeLessThan(1e-4)
    const queries = queryFactors(balance.factors, 4, 8)
    for (let head = 0; head < 4; head++)
      for (let d = 0; d < 8; d++) expect(queries[head * 8 + d]! * balance.factors[(head >> 1) * 8 + d]!).toBe(1)
  })

  test('that leaves too much for int8 is reported with its size', async () => {
    const fast = biased(0, 300)
    const told = async (files: ModelFiles) => int8Warnings('m', await keyBalances(await openModel(files)))
    expect(await told(fast)).toEqual([
      expect.stringMatching(/channel of layer 0 by 300, and of 1 other layers .* step of 2\.4.*f16/),
    ])
    expect(await told(biased(3, 300))).toEqual([])
    const engine = await Engine.load(fast, { wasm, context: 64, kv: 'int8' })
    expect(engine.archive.warnings).toEqual([expect.stringMatching(/bias of K/)])
    await engine.close()
    const wide = await Engine.load(fast, { wasm, context: 64 })
    expect(wide.archive.warnings).toEqual([])
    await wide.close()
  })
})
