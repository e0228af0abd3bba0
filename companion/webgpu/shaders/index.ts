/** Kernels by name: `<op>_<types>`. */
import type { KvType } from '../../../src/index.ts'
import type { Kind } from '../weights.ts'
import { embed, gemmFew, gemmTiled } from './gemm.ts'
import { attention, writeKv } from './kv.ts'
import { bias, gather, norm, rope, swiglu } from './rows.ts'

const plain: Readonly<Record<string, string>> = { norm, bias, rope, swiglu, gather }

/** The WGSL of a kernel. */
export function shader(kernel: string): string {
  const [op, type] = kernel.split(' ') as [string, string]
  if (op === 'gemm_tiled') return gemmTiled(type as Kind)
  if (op === 'gemm_few') return gemmFew(type as Kind)
  if (op === 'embed') return embed(type as Kind)
  if (op === 'write_kv') return writeKv(type as KvType)
  if (op === 'attention') return attention(type as KvType)
  return plain[op]!
}
