/**
 * Types the exports of the Rust core. Pointers are byte addresses; `wasm/core/src/lib.rs` is the
 * reference.
 *
 * Wasm has no unsigned numbers at its border: a u32 of 2 GiB or more arrives as a negative i32, and
 * a u64 as a signed BigInt. `kernelsOf` is the only place that corrects this, so that every number
 * from the core is a whole number from 0.
 */

import { ForetokenError } from '../../base/errors.ts'
import type { TensorType } from '../../base/model.ts'
import { isWhole } from '../../base/numbers.ts'

/** Exports that count bytes. They are u64 in the core, so they are exact for any shape. */
type Counting = 'weight_bytes' | 'kv_layer_bytes' | 'wire_bytes' | 'scratch_bytes'

/** Exports that give a u32 which may have its highest bit set. */
type Unsigned = 'weight_kind' | 'wire_encode_residual' | 'probe'

/** The exports of an instance, before `kernelsOf`. */
export type RawKernels = Omit<Kernels, Counting> & Readonly<Record<Counting, (...shape: number[]) => bigint>>

/**
 * Returns the kernels of an instance, with sizes as plain numbers. Counting functions throw
 * `out_of_memory` for a shape beyond 32 bits.
 */
export function kernelsOf(exports: Readonly<Record<string, unknown>>): Kernels {
  const raw = exports as unknown as RawKernels
  const counting = (name: Counting) => {
    return (...shape: number[]) => {
      // The core would see the lowest 32 bits only.
      const bad = shape.find((number) => !isWhole(number, 0, 2 ** 32 - 1))
      if (bad !== undefined)
        throw new ForetokenError('out_of_memory', `${name}: a shape has ${bad}, and the wasm core counts to 2^32 - 1`)
      return Number(BigInt.asUintN(64, raw[name](...shape)))
    }
  }
  const unsigned =
    <A extends unknown[]>(kernel: (...args: A) => number) =>
    (...args: A) =>
      kernel(...args) >>> 0
  return {
    ...raw,
    weight_bytes: counting('weight_bytes'),
    kv_layer_bytes: counting('kv_layer_bytes'),
    wire_bytes: counting('wire_bytes'),
    scratch_bytes: counting('scratch_bytes'),
    weight_kind: unsigned(raw.weight_kind),
    wire_encode_residual: unsigned(raw.wire_encode_residual),
    probe: unsigned(raw.probe),
  } satisfies Kernels & Record<Unsigned, unknown>
}

export interface Kernels {
  readonly __heap_base: WebAssembly.Global
  readonly __stack_pointer?: WebAssembly.Global

  quantize_q8(q: number, s: number, sums: number, x: number, xStride: number, rows: number, k: number): number
  gemm_u4(
    out: number,
    outStride: number,
    q: number,
    s: number,
    sums: number,
    w: number,
    rows: number,
    n: number,
    k: number,
    add: number,
    lowering: number,
  ): number
  gemm_i8(
    out: number,
    outStride: number,
    q: number,
    s: number,
    sums: number,
    w: number,
    rows: number,
    n: number,
    k: number,
    add: number,
    kind: number,
    lowering: number,
  ): number
  gemm_f32(
    out: number,
    outStride: number,
    x: number,
    xStride: number,
    w: number,
    rows: number,
    n: number,
    k: number,
    add: number,
    kind: number,
  ): number
  embed_rows(
    out: number,
    outStride: number,
    ids: number,
    w: number,
    kind: number,
    rows: number,
    n: number,
    k: number,
  ): number
  repack(sourceType: number, dst: number, src: number, firstRow: number, rows: number, n: number, k: number): number
  weight_kind(sourceType: number): number
  weight_bytes(kind: number, n: number, k: number): number
  peak_dot(iterations: number, lowering: number): number
  peak_dot_ops(): number

  rms_norm(
    out: number,
    outStride: number,
    x: number,
    xStride: number,
    w: number,
    rows: number,
    cols: number,
    eps: number,
  ): number
  head_norm(
    x: number,
    xStride: number,
    col: number,
    heads: number,
    headDim: number,
    w: number,
    rows: number,
    eps: number,
  ): number
  add_bias(x: number, xStride: number, col: number, bias: number, n: number, rows: number): number
  rope(
    x: number,
    xStride: number,
    col: number,
    heads: number,
    headDim: number,
    turned: number,
    pairs: number,
    table: number,
    rows: number,
  ): number
  kv_layer_bytes(kvType: number, kvHeads: number, headDim: number): number
  write_kv(
    kvType: number,
    layerBase: number,
    pageBytes: number,
    x: number,
    xStride: number,
    kCol: number,
    vCol: number,
    kvHeads: number,
    headDim: number,
    slots: number,
    rows: number,
  ): number
  attention(
    out: number,
    outStride: number,
    x: number,
    xStride: number,
    qCol: number,
    heads: number,
    kvHeads: number,
    headDim: number,
    kvType: number,
    layerBase: number,
    pageBytes: number,
    segments: number,
    segmentCount: number,
    pageTable: number,
    scale: number,
    window: number,
    ahead: number,
    softCap: number,
    form: number,
  ): number
  multiply(x: number, xStride: number, y: number, yStride: number, n: number, rows: number): number
  convolve(
    x: number,
    xStride: number,
    weights: number,
    taps: number,
    kvHeads: number,
    headDim: number,
    kvType: number,
    layerBase: number,
    pageBytes: number,
    segments: number,
    segmentCount: number,
    pageTable: number,
    rows: number,
  ): number
  soft_cap(x: number, xStride: number, n: number, rows: number, cap: number): number
  activation(
    out: number,
    outStride: number,
    gate: number,
    gateStride: number,
    up: number,
    upStride: number,
    f: number,
    rows: number,
    kind: number,
  ): number
  scale_add(
    out: number,
    outStride: number,
    x: number,
    xStride: number,
    n: number,
    rows: number,
    keep: number,
    scale: number,
  ): number
  gather_rows(
    out: number,
    outStride: number,
    x: number,
    xStride: number,
    ids: number,
    cols: number,
    rows: number,
  ): number
  best_of_rows(out: number, x: number, xStride: number, cols: number, count: number, rows: number): number
  moments(
    sums: number,
    x: number,
    xStride: number,
    xCols: number,
    y: number,
    yStride: number,
    yCols: number,
    rows: number,
  ): number
  wire_bytes(codec: number, part: number, headDim: number, tokens: number): number
  wire_encode(
    codec: number,
    bytes: number,
    kvType: number,
    layerBase: number,
    pageBytes: number,
    kvHeads: number,
    headDim: number,
    pages: number,
    tokens: number,
    first: number,
    units: number,
  ): number
  wire_decode: Kernels['wire_encode']
  wire_encode_residual(
    bytes: number,
    room: number,
    kvType: number,
    layerBase: number,
    pageBytes: number,
    layers: number,
    kvHeads: number,
    headDim: number,
    pages: number,
    base: number,
    tokens: number,
    steps: number,
  ): number
  wire_decode_residual(
    bytes: number,
    length: number,
    kvType: number,
    layerBase: number,
    pageBytes: number,
    layers: number,
    kvHeads: number,
    headDim: number,
    pages: number,
    tokens: number,
    steps: number,
  ): number
  scratch_bytes(maxK: number, headDim: number, group: number): number

  probe(): number
  pool_set_scratch(base: number, bytesPerThread: number): void
  /** Present in threaded builds only. */
  pool_init?(threads: number): void
  pool_set_wait?(mayBlock: number, timeoutMs: number): void
  pool_stop?(): void
}

/** Numbers of the tensor types in the ABI. */
export const tensorTypeIds: Readonly<Record<TensorType, number>> = {
  f32: 0,
  f16: 1,
  bf16: 2,
  q4_0: 3,
  q4_1: 4,
  q5_0: 5,
  q5_1: 6,
  q8_0: 7,
  q4_k: 8,
  q5_k: 9,
  q6_k: 10,
  iq4_nl: 11,
  iq4_xs: 12,
  mxfp4: 13,
  q2_k: 14,
  q3_k: 15,
  tq1_0: 16,
  tq2_0: 17,
  q1_0: 18,
  q2_0: 19,
}

/** Numbers of the weight kinds in the ABI. */
export const kinds = { f32: 0, i8: 1, i8m: 2, i8s: 3, f16: 4, bf16: 5, u4: 6 } as const

export const kvTypeIds = { f32: 0, f16: 1, int8: 2 } as const
