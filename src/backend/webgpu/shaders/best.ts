/**
 * Finds the largest values of a row (the lower index first among equals) and the log of the sum of
 * exp of all values, so that a sampler reads a few numbers instead of the logits of a vocabulary.
 * The first value is the argmax.
 *
 * The first kernel reduces each run of columns, the second all runs of a row. A result has 2 count
 * + 3 numbers: `count` values, their indices as f32, the largest value, the sum of exp(value -
 * largest), and the number of values that are NaN or too large.
 */

import type { Features } from '../features.ts'
import { fold, head } from './common.ts'

/** Number of columns in a run. */
export const bestRun = 2048
/** Limits of the length of a list and of a row. An index must be exact in f32. */
export const mostBest = 64
export const mostColumns = 2 ** 24

/** Returns how many numbers a result has. */
export function bestNumbers(count: number): number {
  return 2 * count + 3
}

/**
 * WGSL of `write_best(to, thread)`, which writes the best `p.count` of `items`, read by `value_at`
 * and `id_at`. Each thread holds the best of its remaining items. The best of all threads is
 * written next, and its thread then finds its own next item.
 */
const writeBest = /* wgsl */ `
const none = -3.4e38;
struct Item { value: f32, id: f32 }
fn next_own(items: u32, thread: u32, last: Item) -> Item {
  var best = Item(none, 3.4e38);
  for (var i = thread; i < items; i += 64u) {
    let item = Item(value_at(i), id_at(i));
    let behind = item.value < last.value || (item.value == last.value && item.id > last.id);
    let better = item.value > best.value || (item.value == best.value && item.id < best.id);
    if (behind && better) { best = item; }
  }
  return best;
}
fn write_best(items: u32, to: u32, thread: u32) {
  var own = next_own(items, thread, Item(3.4e38, -1.0));
  for (var turn = 0u; turn < p.count; turn++) {
    let value = fold_max(own.value, thread);
    let id = -fold_max(select(none, -own.id, own.value == value), thread);
    if (thread == 0u) {
      a[to + turn] = value;
      a[to + p.count + turn] = id;
    }
    if (own.value == value && own.id == id) { own = next_own(items, thread, own); }
  }
}
`

export function bestOfRun(features: Features): string {
  const folds = fold('f32', features)
  return /* wgsl */ `${head(['x', 'x_stride', 'cols', 'count', 'runs', 'out'], folds.enable)}${folds.functions}
var<private> start: u32;
var<private> first: u32;
fn value_at(i: u32) -> f32 { return a[start + first + i]; }
fn id_at(i: u32) -> f32 { return f32(first + i); }
${writeBest}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32${folds.parameters}) {${folds.begin}
  start = p.x + group.y * p.x_stride;
  first = group.x * ${bestRun}u;
  let items = min(${bestRun}u, p.cols - group.x * ${bestRun}u);
  let to = p.out + (group.y * p.runs + group.x) * (2u * p.count + 3u);
  var top = none;
  var wrong = 0.0;
  for (var i = thread; i < items; i += 64u) {
    let value = value_at(i);
    // Tested by bits, since a shader need not support NaN. -Infinity marks a row without a token.
    let word = bitcast<u32>(value);
    if ((word & 0x7fffffffu) > 0x7f800000u || word == 0x7f800000u) { wrong += 1.0; } else { top = max(top, value); }
  }
  let most = fold_max(top, thread);
  var sum = 0.0;
  for (var i = thread; i < items; i += 64u) { sum += exp(value_at(i) - most); }
  let total = fold_add(sum, thread);
  let bad = fold_add(wrong, thread);
  write_best(items, to, thread);
  if (thread == 0u) {
    a[to + 2u * p.count] = most;
    a[to + 2u * p.count + 1u] = total;
    a[to + 2u * p.count + 2u] = bad;
  }
}`
}

export function bestOfAll(features: Features): string {
  const folds = fold('f32', features)
  return /* wgsl */ `${head(['x', 'count', 'runs', 'out'], folds.enable)}${folds.functions}
var<private> start: u32;
fn place(i: u32) -> u32 { return start + i / p.count * (2u * p.count + 3u) + i % p.count; }
fn value_at(i: u32) -> f32 { return a[place(i)]; }
fn id_at(i: u32) -> f32 { return a[place(i) + p.count]; }
${writeBest}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32${folds.parameters}) {${folds.begin}
  let numbers = 2u * p.count + 3u;
  start = p.x + group.y * p.runs * numbers;
  let to = p.out + group.y * numbers;
  var top = none;
  for (var i = thread; i < p.runs; i += 64u) { top = max(top, a[start + i * numbers + 2u * p.count]); }
  let most = fold_max(top, thread);
  var sum = 0.0;
  var wrong = 0.0;
  for (var i = thread; i < p.runs; i += 64u) {
    let at = start + i * numbers + 2u * p.count;
    sum += a[at + 1u] * exp(a[at] - most);
    wrong += a[at + 2u];
  }
  let total = fold_add(sum, thread);
  let bad = fold_add(wrong, thread);
  write_best(p.runs * p.count, to, thread);
  if (thread == 0u) {
    a[to + 2u * p.count] = most;
    a[to + 2u * p.count + 1u] = total;
    a[to + 2u * p.count + 2u] = bad;
  }
}`
}
