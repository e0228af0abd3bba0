/**
 * out (rows, n) (+)= x (rows, k) times a weight (n, k) transposed.
 *
 * The order of a sum is one for both kernels, so that a row has the same bits whatever shares its pass: k is cut into four slices of whole
 * blocks, each is added up from its front, four products at a time, and then the four in order.
 */
import type { Kind } from '../weights.ts'
import { head } from './common.ts'
import { halfBlock } from './weights.ts'

const params = ['x', 'x_stride', 'out', 'out_stride', 'rows', 'n', 'k', 'blocks', 'add']

/** Four elements of row `row` of x from k = `at` on; beyond k they are 0. */
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
 * A tile of 32 rows and 64 outputs a workgroup of 16 x 8 threads, 4 x 4 of them a thread:
 *
 *     for each slice, for each block of 32 k:
 *         all: x's 32 x 32 and the weight's 64 x 32, expanded, into workgroup memory
 *         each thread: 4 rows times 4 outputs, 16 apart so that neighbours read neighbours
 */
export function gemmTiled(kind: Kind): string {
  return /* wgsl */ `${head(params)}${halfBlock(kind)}${readX}
var<workgroup> xs: array<vec4f, 256>; // (8 k, 32 rows)
var<workgroup> ws: array<vec4f, 512>; // (8 k, 64 outputs)
@compute @workgroup_size(16, 8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row0 = group.y * 32u;
  let col0 = group.x * 64u;
  var total: array<vec4f, 4>;
  for (var slice = 0u; slice < 4u; slice++) {
    // Explicit: a software Vulkan kept the values of the turn before.
    var part = array<vec4f, 4>(vec4f(0.0), vec4f(0.0), vec4f(0.0), vec4f(0.0));
    for (var kb = slice * p.blocks / 4u; kb < (slice + 1u) * p.blocks / 4u; kb++) {
      for (var i = thread; i < 256u; i += 128u) {
        let row = row0 + i / 8u;
        var four = vec4f(0.0);
        if (row < p.rows) { four = x4(row, kb * 32u + (i % 8u) * 4u); }
        xs[(i % 8u) * 32u + i / 8u] = four;
      }
      let col = thread % 64u;
      let h = thread / 64u;
      var mine = array<vec4f, 4>(vec4f(0.0), vec4f(0.0), vec4f(0.0), vec4f(0.0));
      if (col0 + col < p.n) { mine = half_block(kb, col0 + col, h); }
      for (var i = 0u; i < 4u; i++) { ws[(h * 4u + i) * 64u + col] = mine[i]; }
      workgroupBarrier();
      for (var step = 0u; step < 8u; step++) {
        let w0 = ws[step * 64u + id.x];
        let w1 = ws[step * 64u + id.x + 16u];
        let w2 = ws[step * 64u + id.x + 32u];
        let w3 = ws[step * 64u + id.x + 48u];
        for (var row = 0u; row < 4u; row++) {
          let x = xs[step * 32u + id.y * 4u + row];
          part[row] += vec4f(dot(x, w0), dot(x, w1), dot(x, w2), dot(x, w3));
        }
      }
      workgroupBarrier();
    }
    for (var row = 0u; row < 4u; row++) { total[row] += part[row]; }
  }
  for (var row = 0u; row < 4u; row++) {
    for (var i = 0u; i < 4u; i++) {
      let r = row0 + id.y * 4u + row;
      let c = col0 + id.x + 16u * i;
      if (r < p.rows && c < p.n) { put(r, c, total[row][i]); }
    }
  }
}`
}

/** Up to 4 rows: 16 outputs a workgroup, a thread for each slice of each; weights are read once for all rows. */
export function gemmFew(kind: Kind): string {
  return /* wgsl */ `${head(params)}${halfBlock(kind)}${readX}
var<workgroup> parts: array<vec4f, 64>; // (4 slices, 16 outputs) of 4 rows
@compute @workgroup_size(16, 4)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) id: vec3u) {
  let col = group.x * 16u + id.x;
  let slice = id.y;
  var part = vec4f(0.0);
  if (col < p.n) {
    for (var kb = slice * p.blocks / 4u; kb < (slice + 1u) * p.blocks / 4u; kb++) {
      for (var h = 0u; h < 2u; h++) {
        let sixteen = half_block(kb, col, h);
        for (var i = 0u; i < 4u; i++) {
          let at = kb * 32u + h * 16u + i * 4u;
          for (var row = 0u; row < p.rows; row++) { part[row] += dot(x4(row, at), sixteen[i]); }
        }
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

/** out (ids, k) = rows of a weight by a list of ids. A thread reads 16 elements. */
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
