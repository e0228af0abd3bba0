/** The committed modules: they are what the record says, ask for nothing but a memory, and answer their probe. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { type Kernels, kernelsOf } from '../../src/backend/wasm/abi.ts'

const dist = new URL('../../wasm/dist/', import.meta.url)
const record: { rustc: string; modules: Record<string, { sha256: string; bytes: number }> } = JSON.parse(
  readFileSync(new URL('build.json', dist), 'utf8'),
)
const forms = ['simd128', 'relaxed', 'simd128-threads', 'relaxed-threads'] as const

const kernels: (keyof Kernels)[] = [
  'quantize_q8',
  'gemm_u4',
  'gemm_i8',
  'gemm_f32',
  'embed_rows',
  'repack',
  'repack_start',
  'repack_end',
  'weight_kind',
  'weight_bytes',
  'rms_norm',
  'head_norm',
  'add_bias',
  'rope',
  'kv_layer_bytes',
  'write_kv',
  'attention',
  'multiply',
  'convolve',
  'activation',
  'scale_add',
  'gather_rows',
  'best_of_rows',
  'moments',
  'scratch_bytes',
  'probe',
  'pool_set_scratch',
]

test('the record lists the existing modules, and the compiler', () => {
  expect(Object.keys(record.modules).sort()).toEqual([...forms].sort())
  expect(
    readdirSync(dist)
      .filter((file) => file.endsWith('.wasm'))
      .sort(),
  ).toEqual(forms.map((form) => `${form}.wasm`).sort())
  expect(record.rustc).toMatch(/^rustc \d+\.\d+/)
})

describe.each(forms)('%s.wasm', (form) => {
  const bytes = readFileSync(new URL(`${form}.wasm`, dist))
  const module = new WebAssembly.Module(bytes)
  const threaded = form.endsWith('-threads')

  test('has the recorded bytes', () => {
    expect(bytes.length).toBe(record.modules[form]!.bytes)
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(record.modules[form]!.sha256)
  })

  test('imports a memory and nothing else, exports every kernel', () => {
    expect(WebAssembly.Module.imports(module)).toEqual([{ module: 'env', name: 'memory', kind: 'memory' }])
    const functions = WebAssembly.Module.exports(module)
      .filter(({ kind }) => kind === 'function')
      .map(({ name }) => name)
    expect(functions).toEqual(expect.arrayContaining(kernels))
    const pool = ['pool_init', 'pool_set_wait', 'pool_stop', 'worker_main']
    for (const name of pool) expect(functions.includes(name)).toBe(threaded)
  })

  test('detects the dot product of this engine', () => {
    const exports = instantiate(module, threaded)
    const found = exports.probe()
    // 1 exact, 2 reads the second operand as unsigned, 4 as signed; at most one of these two.
    expect(form.startsWith('relaxed') ? [1, 3, 5] : [0]).toContain(found)
  })

  test('keeps its stack and data small, below the heap', () => {
    const exports = instantiate(module, threaded)
    expect(Number(exports.__heap_base.value)).toBeLessThan(17 * 65_536)
    if (threaded) expect(Number(exports.__stack_pointer?.value)).toBe(131_072)
  })

  test('counts the bytes of any shape exactly, beyond 32 bits, too', () => {
    const exports = instantiate(module, threaded)
    expect(exports.weight_kind(99)).toBe(2 ** 32 - 1)
    const f32 = exports.weight_kind(0)
    expect(exports.weight_bytes(f32, 2 ** 21, 256)).toBe(2 ** 31)
    expect(exports.weight_bytes(f32, 4_200_000, 256)).toBe(4_300_800_000)
    expect(exports.weight_bytes(f32, 2 ** 32 - 8, 2 ** 28)).toBe((2 ** 32 - 8) * 2 ** 30)
    expect(exports.kv_layer_bytes(0, 2 ** 14, 2 ** 11)).toBe(2 ** 32)
    expect(exports.wire_bytes(0, 0, 2 ** 20, 2 ** 11)).toBe(2 ** 33)
    expect(exports.scratch_bytes(2 ** 31, 64, 1)).toBe(2 ** 36)
    // The core would see the lowest 32 bits of it only.
    const refused = () => exports.weight_bytes(f32, 2 ** 32 + 8, 8)
    expect(refused).toThrow(expect.objectContaining({ code: 'out_of_memory' }))
    expect(refused).toThrow('4294967304')
  })

  test('adds in place, without touching adjacent values', () => {
    const memory = new WebAssembly.Memory({ initial: 17, maximum: 65_536, shared: threaded })
    const exports = kernelsOf(new WebAssembly.Instance(module, { env: { memory } }).exports)
    const floats = new Float32Array(memory.buffer)
    const [x, bias] = [600_000, 700_000]
    floats.set([1, 2, 3, 4, 5, 6, 7, 8], x / 4)
    floats.set([10, 20, 30], bias / 4)
    expect(exports.add_bias(x, 4, 1, bias, 3, 2)).toBe(0)
    expect([...floats.subarray(x / 4, x / 4 + 8)]).toEqual([1, 12, 23, 34, 5, 16, 27, 38])
  })
})

function instantiate(module: WebAssembly.Module, shared: boolean): Kernels {
  const memory = new WebAssembly.Memory({ initial: 17, maximum: 65_536, shared })
  return kernelsOf(new WebAssembly.Instance(module, { env: { memory } }).exports)
}
