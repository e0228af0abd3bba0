/** Returns kernels by name, `<op> <type>`. */
import { defined } from '../../../base/at.ts'
import type { KvType } from '../../../base/kv.ts'
import type { Activation } from '../../../base/model.ts'
import type { Features } from '../features.ts'
import type { Kind } from '../weights.ts'
import { attention } from './attention.ts'
import { bestOfAll, bestOfRun } from './best.ts'
import { convolve } from './convolve.ts'
import { embed, gemmFew, gemmTiled } from './gemm.ts'
import { writeKv } from './kv.ts'
import { gemmMatrix, layX } from './matrix.ts'
import { activation, bias, gather, multiply, norm, rope, scale, scaleAdd, softCap } from './rows.ts'

type Writer = (type: string, features: Features) => string

const writers: Readonly<Record<string, Writer>> = {
  embed: (kind) => embed(kind as Kind),
  norm: (_, features) => norm(features),
  gemm_few: (kind) => gemmFew(kind as Kind),
  gemm_32: (kind, features) => gemmTiled(kind as Kind, 32, halves(kind, features)),
  gemm_64: (kind, features) => gemmTiled(kind as Kind, 64, halves(kind, features)),
  gemm_matrix: (kind, { matrix }) => gemmMatrix(kind as Kind, defined(matrix)),
  lay_x: (_, { matrix }) => layX(defined(matrix)),
  bias: () => bias,
  scale: () => scale,
  rope: () => rope,
  write_kv: (type) => writeKv(type as KvType),
  attention: (type, features) => attention(type as KvType, features),
  convolve: (type) => convolve(type as KvType),
  activation: (kind) => activation(kind as Activation),
  scale_add: () => scaleAdd,
  multiply: () => multiply,
  soft_cap: () => softCap,
  gather: () => gather,
  best_of_run: (_, features) => bestOfRun(features),
  best_of_all: (_, features) => bestOfAll(features),
}

/** Returns the WGSL of a kernel for a device with these features. */
export function shader(kernel: string, features: Features): string {
  const [op, type = ''] = kernel.split(' ') as [string, string?]
  return defined(writers[op])(type, features)
}

/**
 * Returns true if workgroup memory may hold a weight as f16. Values of bf16 and f32 may exceed its
 * range.
 */
function halves(kind: string, { f16 }: Features): boolean {
  return f16 && kind !== 'bf16' && kind !== 'f32'
}

/** Returns the names of all kernels that a device with these features can run. */
export function kernels({ matrix }: Features): string[] {
  const of = (ops: readonly string[], types: readonly string[]) =>
    ops.flatMap((op) => types.map((type) => `${op} ${type}`))
  return [
    ...['norm', 'bias', 'scale', 'rope', 'scale_add', 'multiply', 'soft_cap', 'gather'],
    ...['best_of_run', 'best_of_all'],
    ...of(['embed', 'gemm_few', 'gemm_32', 'gemm_64'], ['u4', 'i8', 'f16', 'bf16', 'f32']),
    ...of(['activation'], ['silu', 'gelu']),
    ...of(['write_kv', 'attention'], ['f32', 'f16', 'int8']),
    ...of(['convolve'], ['f32', 'f16']),
    ...(matrix
      ? [
          'lay_x',
          ...of(['gemm_matrix'], matrix.from === 'f16' ? ['u4', 'i8', 'f16'] : ['u4', 'i8', 'f16', 'bf16', 'f32']),
        ]
      : []),
  ]
}
