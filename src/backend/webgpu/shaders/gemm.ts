/**
 * Computes out (rows, n) = or += x (rows, k) times a weight (n, k) transposed.
 *
 * All kernels add in the same order, so that the bits of a row do not depend on the other rows of
 * its pass. k is cut into four slices of whole blocks. Each slice is added from its start, 16
 * products at a time, and then the four sums in order. For a quantised weight, 16 products are
 *
 *     d (x . q) + m (sum of x)
 *
 * so the factors are whole numbers, which f16 holds exactly.
 */
import type { Kind } from '../weights.ts'
import { head } from './common.ts'
import { halfBlock, isQuantised, numbers } from './weights.ts'

const params = ['x', 'x_stride', 'out', 'out_stride', 'rows', 'n', 'k', 'blocks', 'add']

/**
 * WGSL of `x4`, which returns four elements of a row of x from k = `at` on (0 beyond k), and of
 * `put`, which stores a result.
 */
const readX = /* wgsl */ `
fn x4(row: u32, at: u32) -> vec4f {
  let start = p.x + row * p.x_stride + at;
  if (at + 4u <= p.k) { return vec4f(a[start], a[start + 1u], a[start + 2u], a[start + 3u]); }
  var four = vec4f(0.0);
  for (var i = 0u; at + i < p.k; i++) { four[i] = a[start + i]; }
  return four;
}
fn put(row: u32, col: u32, value: f32) {
  let at = p.out + row * p.out_stride + col;
  a[at] = select(value, a[at] + value, p.add == 1u);
}
`

/**
 * WGSL of `more(sum, dots, d, m, x)`, which adds 16 products to the sums of four rows or outputs;
 * `x` holds the sums of their 16 elements of x.
 */
const more = /* wgsl */ `
fn more(sum: vec4f, dots: vec4f, d: vec4f, m: vec4f, x: vec4f) -> vec4f { return fma(x, m, fma(dots, d, sum)); }
fn sum16(x: array<vec4f, 4>) -> f32 { return dot(((x[0] + x[1]) + x[2]) + x[3], vec4f(1.0)); }
`

/**
 * Returns a kernel whose workgroups of 16 x 8 threads compute tiles of 64 outputs by 32 or 64 rows;
 * each thread computes 4 outputs by 4 or 8 rows:
 *
 *     for each slice, for each block of 32 k:
 *         all: x's rows x 32 and the weight's 64 x 32 numbers into workgroup memory
 *         each thread: its rows times 4 outputs, 16 apart so that neighbours read neighbours
 *
 * With `halves`, workgroup memory holds the weight as f16.
 */
export function gemmTiled(kind: Kind, tileRows: 32 | 64, halves: boolean): string {
  const quantised = isQuantised(kind)
  const perThread = tileRows / 8
  const zeros = `array<vec4f, ${perThread}>(${Array(perThread).fill('vec4f(0.0)').join(', ')})`
  const [four, uses] = halves ? ['vec4h', ['f16']] : ['vec4f', []]
  const read = (at: string) => (halves ? `vec4f(ws[${at}])` : `ws[${at}]`)
  const scale = (axis: 'x' | 'y') => {
    const four = [0, 16, 32, 48].map((from) => `ss[h * 64u + id.x + ${from}u].${axis}`)
    return `vec4f(${four.join(', ')})`
  }
  const add = quantised
    ? `
        let d = ${scale('x')};
        let m = ${scale('y')};
        for (var row = 0u; row < ${perThread}u; row++) {
          part[row] = more(part[row], dots[row], d, m, vec4f(x_sums[h * ${tileRows}u + id.y * ${perThread}u + row]));
        }`
    : `
        for (var row = 0u; row < ${perThread}u; row++) { part[row] += dots[row]; }`
  return /* wgsl */ `${head(params, uses)}${numbers(kind)}${readX}${quantised ? more : ''}
var<workgroup> xs: array<vec4f, ${8 * tileRows}>; // (8 k, rows)
var<workgroup> ws: array<${four}, 512>; // (8 k, 64 outputs)
${quantised ? `var<workgroup> x_sums: array<f32, ${2 * tileRows}>; // (2 halves, rows)\nvar<workgroup> ss: array<vec2f, 128>; // (2 halves, 64 outputs)` : ''}
@compute @workgroup_size(16, 8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row0 = group.y * ${tileRows}u;
  let col0 = group.x * 64u;
  var total: array<vec4f, ${perThread}>;
  for (var slice = 0u; slice < 4u; slice++) {
    // Initialised explicitly, here and below: a software Vulkan kept the previous iteration's
    // values.
    var part = ${zeros};
    for (var kb = slice * p.blocks / 4u; kb < (slice + 1u) * p.blocks / 4u; kb++) {
      if (thread < ${2 * tileRows}u) {
        let row = thread / 2u;
        let h = thread % 2u;
        var mine = array<vec4f, 4>(vec4f(0.0), vec4f(0.0), vec4f(0.0), vec4f(0.0));
        if (row0 + row < p.rows) {
          for (var i = 0u; i < 4u; i++) { mine[i] = x4(row0 + row, kb * 32u + h * 16u + i * 4u); }
        }
        for (var i = 0u; i < 4u; i++) { xs[(h * 4u + i) * ${tileRows}u + row] = mine[i]; }
        ${quantised ? `x_sums[h * ${tileRows}u + row] = sum16(mine);` : ''}
      }
      let col = thread % 64u;
      let half = thread / 64u;
      var mine = array<vec4f, 4>(vec4f(0.0), vec4f(0.0), vec4f(0.0), vec4f(0.0));
      if (col0 + col < p.n) {
        mine = numbers(kb, col0 + col, half);
        ${quantised ? 'ss[thread] = scale(kb, col0 + col, half);' : ''}
      }
      for (var i = 0u; i < 4u; i++) { ws[(half * 4u + i) * 64u + col] = ${four}(mine[i]); }
      workgroupBarrier();
      for (var h = 0u; h < 2u; h++) {
        var dots = ${zeros};
        for (var step = h * 4u; step < h * 4u + 4u; step++) {
          let w0 = ${read('step * 64u + id.x')};
          let w1 = ${read('step * 64u + id.x + 16u')};
          let w2 = ${read('step * 64u + id.x + 32u')};
          let w3 = ${read('step * 64u + id.x + 48u')};
          for (var row = 0u; row < ${perThread}u; row++) {
            let x = xs[step * ${tileRows}u + id.y * ${perThread}u + row];
            dots[row] += vec4f(dot(x, w0), dot(x, w1), dot(x, w2), dot(x, w3));
          }
        }${add}
      }
      workgroupBarrier();
    }
    for (var row = 0u; row < ${perThread}u; row++) { total[row] += part[row]; }
  }
  for (var row = 0u; row < ${perThread}u; row++) {
    for (var i = 0u; i < 4u; i++) {
      let r = row0 + id.y * ${perThread}u + row;
      let c = col0 + id.x + 16u * i;
      if (r < p.rows && c < p.n) { put(r, c, total[row][i]); }
    }
  }
}`
}

/**
 * Returns a kernel for up to 4 rows. A workgroup has 16 outputs, with a thread for each slice of
 * each output, and reads each weight once for all rows.
 */
export function gemmFew(kind: Kind): string {
  const quantised = isQuantised(kind)
  const add = quantised
    ? 'let s = scale(kb, col, h);\n        part = more(part, dots, vec4f(s.x), vec4f(s.y), x_sums);'
    : 'part += dots;'
  return /* wgsl */ `${head(params)}${numbers(kind)}${readX}${quantised ? more : ''}
var<workgroup> parts: array<vec4f, 64>; // (4 slices, 16 outputs) of 4 rows
@compute @workgroup_size(16, 4)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) id: vec3u) {
  let col = group.x * 16u + id.x;
  let slice = id.y;
  var part = vec4f(0.0);
  if (col < p.n) {
    for (var kb = slice * p.blocks / 4u; kb < (slice + 1u) * p.blocks / 4u; kb++) {
      for (var h = 0u; h < 2u; h++) {
        let sixteen = numbers(kb, col, h);
        var dots = vec4f(0.0);
        var x_sums = vec4f(0.0);
        for (var row = 0u; row < p.rows; row++) {
          var x = array<vec4f, 4>(vec4f(0.0), vec4f(0.0), vec4f(0.0), vec4f(0.0));
          var sum = 0.0;
          for (var i = 0u; i < 4u; i++) {
            x[i] = x4(row, kb * 32u + h * 16u + i * 4u);
            sum += dot(x[i], sixteen[i]);
          }
          dots[row] = sum;
          ${quantised ? 'x_sums[row] = sum16(x);' : ''}
        }
        ${add}
      }
    }
  }
  parts[slice * 16u + id.x] = part;
  workgroupBarrier();
  if (slice == 0u && col < p.n) {
    var total = vec4f(0.0);
    for (var i = 0u; i < 4u; i++) { total += parts[i * 16u + id.x]; }
    for (var row = 0u; row < p.rows; row++) { put(row, col, total[row]); }
  }
}`
}

/**
 * Returns a kernel that copies rows of a weight by a list of ids: out (ids, k). A thread reads 16
 * elements.
 */
export function embed(kind: Kind): string {
  return /* wgsl */ `${head(['list', 'ids', 'out', 'out_stride', 'start', 'n', 'k', 'blocks'])}${halfBlock(kind)}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.y;
  let h = id.x % 2u;
  let kb = id.x / 2u;
  let output = l[p.list + row];
  if (kb >= p.blocks || output < p.start || output >= p.start + p.n) { return; }
  let sixteen = half_block(kb, output - p.start, h);
  for (var i = 0u; i < 16u; i++) {
    let at = kb * 32u + h * 16u + i;
    if (at < p.k) { a[p.out + row * p.out_stride + at] = sixteen[i / 4u][i % 4u]; }
  }
}`
}
