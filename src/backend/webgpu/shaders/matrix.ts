/**
 * Multiplies many rows with a subgroup's matrix units, which take tiles of f16 or f32 and add in
 * f32.
 *
 * The units check no bounds, so x is first copied into whole tiles of rows, with k padded with
 * zeros. f16 has 11 significant bits, so a number is split into two: its first 11 bits and the
 * remainder. Three products (the smallest is negligible) are then as exact as one in f32. Each row
 * is scaled by a power of two so that its largest element lies in 2^14..2^15 and no activation is
 * too large for f16; the error of an element is 2^-21 of it, or 2^-39 of the row's largest.
 */

import { type MatrixUnit, unitTile } from '../matrix-unit.ts'
import type { Kind } from '../weights.ts'
import { fold, head } from './common.ts'
import { halfBlock } from './weights.ts'

/** Numbers of rows and outputs that a workgroup of four subgroups computes. */
export const matrixTile = { rows: 64, outputs: 64 } as const

/**
 * WGSL of `eleven`, which keeps the first 11 bits of a number. It masks bits, because compilers may
 * drop a conversion to f16 and back.
 */
const eleven = 'fn eleven(value: f32) -> f32 { return bitcast<f32>(bitcast<u32>(value) & 0xffffe000u); }\n'

const enabled = (unit: MatrixUnit) => [
  ...(unit.from === 'f16' ? ['f16'] : []),
  'subgroups',
  'chromium_experimental_subgroup_matrix',
]

/**
 * Returns a kernel that lays x (rows, k) out as (rows, parts, padded k) for the units, and writes
 * the scale factors of the products. A workgroup handles one row.
 */
export function layX({ from }: MatrixUnit): string {
  const most = fold('f32', { subgroups: true })
  const uses = [...most.enable, ...(from === 'f16' ? ['f16'] : [])]
  const kept =
    from === 'f16'
      ? `    kv[2u * group.x * p.padded + i] = f16(eleven(value));
    kv[(2u * group.x + 1u) * p.padded + i] = f16(value - eleven(value));`
      : '    kv[group.x * p.padded + i] = value;'
  return /* wgsl */ `${head(['x', 'x_stride', 'scales', 'k', 'padded'], uses, from)}${eleven}${most.functions}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32${most.parameters}) {${most.begin}
  let x = p.x + group.x * p.x_stride;
  var largest = 0.0;
  for (var i = thread; i < p.k; i += 64u) { largest = max(largest, abs(a[x + i])); }
  let up = ${from === 'f16' ? 'ldexp(1.0, 15 - clamp(frexp(fold_max(largest, thread)).exp, -100, 100))' : '1.0 + 0.0 * fold_max(0.0, thread)'};
  for (var i = thread; i < p.padded; i += 64u) {
    var value = 0.0;
    if (i < p.k) { value = a[x + i] * up; }
${kept}
  }
  if (thread == 0u) { a[p.scales + group.x] = 1.0 / up; }
}`
}

/**
 * Returns a kernel for out (rows, n) = or += x times a weight (n, k) transposed. A workgroup
 * computes a tile of 64 rows by 64 outputs; each of its four subgroups keeps a quarter, 32 x 32, in
 * the registers of its units:
 *
 *     for each block of 32 k:
 *         all: the weight's 64 x 32, expanded, into workgroup memory
 *         each subgroup: its 32 rows times its 32 outputs
 *     through workgroup memory to where they belong, a unit at a time
 */
export function gemmMatrix(kind: Kind, unit: MatrixUnit): string {
  const { from, m, n, k, lanes } = unit
  // Number of rows in the units' x for each row of x.
  const parts = from === 'f16' ? 2 : 1
  // Weights of 4 and 8 bits times their scales have more than 11 bits. Other weights are f16, or
  // the units take f32.
  const weightParts = from === 'f16' && kind !== 'f16' ? 2 : 1
  const [rows, outputs, steps] = [unitTile.rows / m, unitTile.outputs / n, unitTile.k / k]
  // Eight more than 32, so that neighbouring outputs lie in different banks.
  const stride = unitTile.k + 8
  const each = (count: number, line: (i: number) => string) =>
    Array.from({ length: count }, (_, i) => line(i)).join('\n')
  const pairs = (line: (row: number, output: number) => string) =>
    each(rows, (row) => each(outputs, (output) => line(row, output)))
  const sum = (row: number, output: number) => `sum_${row}_${output}`
  const left = (at: number, part: number) =>
    each(
      rows,
      (row) =>
        `      let x_${at}_${part}_${row} = subgroupMatrixLoad<subgroup_matrix_left<${from}, ${k}, ${m}>, row_major>(&kv, x + ${row * m * parts + part}u * p.padded + kb * 32u + ${at * k}u, ${parts}u * p.padded);`,
    )
  const right = (at: number, part: number) =>
    each(
      outputs,
      (output) =>
        `      let w_${at}_${part}_${output} = subgroupMatrixLoad<subgroup_matrix_right<${from}, ${n}, ${k}>, col_major>(&ws, (${part * matrixTile.outputs}u + sub_col + ${output * n}u) * ${stride}u + ${at * k}u, ${stride}u);`,
    )
  const product = (at: number, x: number, w: number) =>
    pairs(
      (row, output) =>
        `      ${sum(row, output)} = subgroupMatrixMultiplyAccumulate(x_${at}_${x}_${row}, w_${at}_${w}_${output}, ${sum(row, output)});`,
    )
  const step = (at: number) =>
    [
      '',
      each(parts, (part) => left(at, part)),
      each(weightParts, (part) => right(at, part)),
      ...(parts > 1 ? [product(at, 1, 0)] : []),
      ...(weightParts > 1 ? [product(at, 0, 1)] : []),
      product(at, 0, 0),
    ].join('\n')
  const store = (row: number, output: number) => `
  subgroupMatrixStore<row_major>(&os, subgroup * ${m * n}u, ${sum(row, output)}, ${n}u);
  workgroupBarrier();
  for (var i = lane; i < ${m * n}u; i += ${lanes}u) {
    put(row0 + sub_row + ${row * m}u + i / ${n}u, col0 + sub_col + ${output * n}u + i % ${n}u, os[subgroup * ${m * n}u + i]);
  }
  workgroupBarrier();`
  const rest =
    weightParts > 1
      ? `
        ws[(${matrixTile.outputs}u + col) * ${stride}u + h * 16u + j] = f16(value - eleven(value));`
      : ''
  const params = ['scales', 'padded', 'out', 'out_stride', 'rows', 'n', 'blocks', 'add']
  return /* wgsl */ `${head(params, enabled(unit), from)}${halfBlock(kind)}${eleven}
var<workgroup> ws: array<${from}, ${weightParts * matrixTile.outputs * stride}>;
var<workgroup> os: array<f32, ${4 * m * n}>;
fn put(row: u32, col: u32, value: f32) {
  if (row >= p.rows || col >= p.n) { return; }
  let at = p.out + row * p.out_stride + col;
  let scaled = value * a[p.scales + row];
  a[at] = select(scaled, a[at] + scaled, p.add == 1u);
}
@compute @workgroup_size(${4 * lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let row0 = group.y * ${matrixTile.rows}u;
  let col0 = group.x * ${matrixTile.outputs}u;
  let sub_row = subgroup / 2u * ${unitTile.rows}u;
  let sub_col = subgroup % 2u * ${unitTile.outputs}u;
  let x = (row0 + sub_row) * ${parts}u * p.padded;
${pairs((row, output) => `  var ${sum(row, output)}: subgroup_matrix_result<f32, ${n}, ${m}>;`)}
  for (var kb = 0u; kb < p.blocks; kb++) {
    for (var i = thread; i < 128u; i += ${4 * lanes}u) {
      let col = i % 64u;
      let h = i / 64u;
      var mine = array<vec4f, 4>(vec4f(0.0), vec4f(0.0), vec4f(0.0), vec4f(0.0));
      if (col0 + col < p.n) { mine = half_block(kb, col0 + col, h); }
      for (var j = 0u; j < 16u; j++) {
        let value = mine[j / 4u][j % 4u];
        ws[col * ${stride}u + h * 16u + j] = ${weightParts > 1 ? 'f16(eleven(value))' : `${from}(value)`};${rest}
      }
    }
    workgroupBarrier();${each(steps, step)}
    workgroupBarrier();
  }
${pairs(store)}
}`
}
