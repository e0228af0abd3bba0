/** Returns kernels that process one row or one element at a time. */
import type { Activation } from '../../../base/model.ts'
import type { Features } from '../features.ts'
import { fold, head } from './common.ts'

/**
 * Computes out = x / rms(x) * weight over runs of `width` columns: a whole row, or each of its
 * heads. A workgroup handles one run.
 */
export function norm(features: Features): string {
  const sums = fold('f32', features)
  return /* wgsl */ `${head(['x', 'x_stride', 'out', 'out_stride', 'weight', 'width', 'eps: f32'], sums.enable)}${sums.functions}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32${sums.parameters}) {${sums.begin}
  let x = p.x + group.y * p.x_stride + group.x * p.width;
  let out = p.out + group.y * p.out_stride + group.x * p.width;
  var sum = 0.0;
  for (var i = thread; i < p.width; i += 64u) { sum += a[x + i] * a[x + i]; }
  let scale = 1.0 / sqrt(fold_add(sum, thread) / f32(p.width) + p.eps);
  for (var i = thread; i < p.width; i += 64u) { a[out + i] = a[x + i] * scale * a[p.weight + i]; }
}`
}

/** Computes x += bias for each row. */
export const bias = /* wgsl */ `${head(['x', 'x_stride', 'bias', 'cols'])}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < p.cols) { a[p.x + id.y * p.x_stride + id.x] += a[p.bias + id.x]; }
}`

/** Computes x *= factors for each row. */
export const scale = /* wgsl */ `${head(['x', 'x_stride', 'factors', 'cols'])}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < p.cols) { a[p.x + id.y * p.x_stride + id.x] *= a[p.factors + id.x]; }
}`

/** Computes x *= y, element by element. */
export const multiply = /* wgsl */ `${head(['x', 'x_stride', 'y', 'y_stride', 'cols'])}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < p.cols) { a[p.x + id.y * p.x_stride + id.x] *= a[p.y + id.y * p.y_stride + id.x]; }
}`

/**
 * Rotates pairs of the first `turned` components of each head by the angles of the row: cosines,
 * then sines, (rows, turned) in the tables.
 */
export const rope = /* wgsl */ `${head(['x', 'x_stride', 'heads', 'head_dim', 'turned', 'adjacent', 'angles'])}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let pairs = p.turned / 2u;
  if (id.x >= p.heads * pairs) { return; }
  let f = id.x % pairs;
  let angle = p.angles + id.y * p.turned + f;
  let c = bitcast<f32>(t[angle]);
  let s = bitcast<f32>(t[angle + pairs]);
  let start = p.x + id.y * p.x_stride + id.x / pairs * p.head_dim;
  let first = start + select(f, 2u * f, p.adjacent == 1u);
  let second = select(first + pairs, first + 1u, p.adjacent == 1u);
  let x = a[first];
  let y = a[second];
  a[first] = x * c - y * s;
  a[second] = x * s + y * c;
}`

/**
 * WGSL of the exponent -y in act(gate) = gate / (1 + e^-y). For silu, y is gate; for gelu in its
 * tanh approximation, y is twice the argument of tanh.
 */
const exponents: Readonly<Record<Activation, string>> = {
  silu: '-gate',
  gelu: '-1.5957691216 * (gate + 0.044715 * gate * gate * gate)',
}

/** Computes out = act(gate) * up. */
export function activation(kind: Activation): string {
  return /* wgsl */ `${head(['out', 'out_stride', 'gate', 'gate_stride', 'up', 'up_stride', 'cols'])}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= p.cols) { return; }
  let gate = a[p.gate + id.y * p.gate_stride + id.x];
  let up = a[p.up + id.y * p.up_stride + id.x];
  a[p.out + id.y * p.out_stride + id.x] = gate / (1.0 + exp(${exponents[kind]})) * up;
}`
}

/** Computes out = keep * out + factor * x. */
export const scaleAdd = /* wgsl */ `${head(['out', 'out_stride', 'x', 'x_stride', 'cols', 'keep: f32', 'factor: f32'])}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= p.cols) { return; }
  let to = p.out + id.y * p.out_stride + id.x;
  a[to] = p.keep * a[to] + p.factor * a[p.x + id.y * p.x_stride + id.x];
}`

/** Computes x = cap * tanh(x / cap). Some devices' tanh overflows far from 0, where it is 1 in f32. */
export const softCap = /* wgsl */ `${head(['x', 'x_stride', 'cols', 'cap: f32'])}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= p.cols) { return; }
  let at = p.x + id.y * p.x_stride + id.x;
  a[at] = p.cap * tanh(clamp(a[at] / p.cap, -15.0, 15.0));
}`

/** Copies rows of x by a list: out = x[list]. */
export const gather = /* wgsl */ `${head(['out', 'out_stride', 'x', 'x_stride', 'list', 'cols'])}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < p.cols) { a[p.out + id.y * p.out_stride + id.x] = a[p.x + l[p.list + id.y] * p.x_stride + id.x]; }
}`
