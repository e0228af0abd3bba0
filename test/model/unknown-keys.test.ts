/** Keys of a configuration that are not known: refused by name, or ignored on request. */
import { describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine } from '../../src/index.ts'
import { openModel } from '../../src/model/open.ts'
import { tinyFolder } from '../helpers/tiny-folder.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyOpenElm } from '../helpers/tiny-openelm.ts'

const wasm = await loadWasm('simd128')

describe('an unknown key', () => {
  const config = { new_thing: 3, other_thing: ['x'.repeat(1000)] }

  test('is refused with its name, its abbreviated value and the next step', async () => {
    await expect(openModel(tinyFolder({ config }))).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(
        /^tiny-folder\/config\.json: new_thing is 3 .*other_thing is a list of 1 .*change the computation.*--ignore-config new_thing --ignore-config other_thing/,
      ),
    })
    await expect(openModel(tinyFiles({ metadata: { 'llama.new_thing': { u32: 3 } } }))).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(
        /llama\.new_thing is 3 .*changes the computation.*--ignore-config llama\.new_thing/,
      ),
    })
  })

  test('is named shortly, whatever its name and however many there are', async () => {
    const many = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`k${i}`, i]))
    await expect(openModel(tinyFolder({ config: many }))).rejects.toThrow(/k7 is 7 .* and 12 more keys/)
    const odd = openModel(tinyFolder({ config: { ['a\u001b[2J'.repeat(100)]: 'y'.repeat(1000) } }))
    const { message } = await odd.catch((error) => error)
    expect(message).not.toContain('\u001b')
    expect(message.length).toBeLessThan(700)
  })

  test('is ignored where it is null', async () => {
    expect((await openModel(tinyFolder({ config: { new_thing: null } }))).warnings).toEqual([])
  })

  test('is refused within the RoPE scaling, too', async () => {
    const rope_scaling = { rope_type: 'linear', factor: 4, mrope_section: [1, 1, 2] }
    await expect(openModel(tinyFolder({ config: { rope_scaling } }))).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('--ignore-config rope_scaling.mrope_section'),
    })
    const ignoreConfig = ['rope_scaling.mrope_section']
    const { config, warnings } = await openModel(tinyFolder({ config: { rope_scaling } }), { ignoreConfig })
    expect(config.ropeDivisors).toEqual([4, 4, 4, 4])
    expect(warnings).toEqual([expect.stringContaining('"rope_scaling.mrope_section" ignored')])
  })

  test('may be a setting of another family', async () => {
    await expect(openModel(tinyFolder({ config: { ffn_multipliers: [1, 2] } }))).rejects.toThrow(/ffn_multipliers/)
    const elm = tinyOpenElm({}, { config: { rms_norm_eps: 1e-5 } })
    await expect(openModel(elm.files)).rejects.toThrow(/rms_norm_eps is 0\.00001/)
  })

  test('is ignored with a warning where the caller allows it', async () => {
    const plain = await openModel(tinyFolder())
    const { warnings, fingerprint } = await openModel(tinyFolder({ config }), { ignoreConfig: Object.keys(config) })
    expect(warnings).toEqual([expect.stringMatching(/"new_thing", "other_thing" ignored, as asked/)])
    expect(fingerprint).toBe(plain.fingerprint)
    const gguf = tinyFiles({ metadata: { 'llama.new_thing': { u32: 3 } } })
    const opened = await openModel(gguf, { ignoreConfig: ['llama.new_thing', 'tokenizer.ggml.model'] })
    expect(opened.warnings).toEqual([expect.stringMatching(/"llama\.new_thing" ignored/)])
  })

  test('can be ignored by an engine, for the auxiliary model, too', async () => {
    const files = tinyFolder({ config })
    const loaded = Engine.load(files, { wasm, context: 32, auxiliary: files, ignoreConfig: Object.keys(config) })
    await (await loaded).close()
    await expect(Engine.load(files, { wasm, context: 32 })).rejects.toMatchObject({ code: 'unsupported' })
  })

  test('may be listed as ignored although it is known: the model runs as if it were absent', async () => {
    const gelu = tinyFolder({ config: { hidden_act: 'gelu' } })
    await expect(openModel(gelu)).rejects.toThrow(/hidden_act is "gelu": this changes the computation/)
    await expect(openModel(gelu, { ignoreConfig: ['hidden_act'] })).resolves.toBeDefined()
    const scaled = tinyFolder({ config: { rope_scaling: { type: 'yarn', factor: 4 } } })
    expect((await openModel(scaled, { ignoreConfig: ['rope_scaling'] })).config.ropeDivisors).toBeUndefined()
    await expect(openModel(tinyFolder(), { ignoreConfig: ['hidden_size'] })).rejects.toMatchObject({
      code: 'bad_model',
    })
  })

  test('may be listed as ignored although it is absent', async () => {
    expect((await openModel(tinyFolder(), { ignoreConfig: ['nothing', 'rope_scaling.x'] })).warnings).toEqual([])
    expect((await openModel(tinyFiles(), { ignoreConfig: ['llama.nothing'] })).warnings).toEqual([])
  })

  test('may be named without the architecture of a GGUF, or the object that it is in', async () => {
    const gguf = tinyFiles({ metadata: { 'llama.new_thing': { u32: 3 } } })
    expect(await openModel(gguf, { ignoreConfig: ['new_thing'] })).toMatchObject({
      ignored: { refused: ['llama.new_thing'], needless: [] },
      warnings: [expect.stringContaining('"llama.new_thing" ignored')],
    })
    const rope_scaling = { rope_type: 'linear', factor: 4, mrope_section: [1, 1, 2] }
    const folder = tinyFolder({ config: { rope_scaling } })
    expect((await openModel(folder, { ignoreConfig: ['mrope_section'] })).config.ropeDivisors).toEqual([4, 4, 4, 4])
    // Two objects have one of this name.
    const twice = { config: { rope_scaling, rope_parameters: { rope_theta: 10_000, mrope_section: [1] } } }
    await expect(openModel(tinyFolder(twice), { ignoreConfig: ['mrope_section'] })).rejects.toThrow(/mrope_section/)
  })

  test('is told from names that mean nothing, and from keys that are not refused', async () => {
    const names = ['new_thing', 'rope_theta', 'nothing', 'llama.context_length']
    const folder = await openModel(tinyFolder({ config: { new_thing: 3 } }), { ignoreConfig: names })
    expect(folder.ignored).toEqual({ refused: ['new_thing'], needless: names.slice(1) })
    const gguf = await openModel(tinyFiles({ metadata: { 'llama.new_thing': { u32: 3 } } }), {
      ignoreConfig: ['new_thing', 'rope.freq_base', 'llama.nothing'],
    })
    expect(gguf.ignored).toEqual({ refused: ['llama.new_thing'], needless: ['rope.freq_base', 'llama.nothing'] })
    expect((await openModel(tinyFolder())).ignored).toBeUndefined()
    const scaled = tinyFolder({ config: { rope_scaling: { type: 'yarn', factor: 4 } } })
    expect((await openModel(scaled, { ignoreConfig: ['rope_scaling'] })).ignored?.needless).toEqual([])
  })

  test.each([['new_thing'], [[3]], [['']]])('the list of ignored keys cannot be %j', async (ignoreConfig) => {
    const options = { ignoreConfig: ignoreConfig as unknown as string[] }
    const ask = openModel(tinyFolder(), ignoreConfig === 'new_thing' ? { ignoreConfig: 'new_thing' as never } : options)
    await expect(ask).rejects.toMatchObject({ code: 'bad_argument' })
  })
})
