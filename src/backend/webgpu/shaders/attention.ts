/** Computes attention over pages of K and V; kv.ts says how they lie. */
import type { KvType } from '../../../base/kv.ts'
import type { Features } from '../features.ts'
import { fold, head } from './common.ts'
import { perWord, reading } from './kv.ts'

/** Size of the largest head. */
export const longestHead = 256
/** Number of query rows that share one read of K and V: two vectors of four. */
export const queryRows = 8
/** Words of a block of rows in the tables of a pass. */
export const blockWords = 5

const params = [
  ...[
    'out',
    'out_stride',
    'q',
    'q_stride',
    'blocks',
    'row0',
    'pages',
    'heads',
    'kv_heads',
    'dim',
    'layer',
    'page_words',
  ],
  ...['scale: f32', 'window', 'ahead', 'cap: f32'],
]

/**
 * Returns a kernel for attention of each segment over its own pages, with a running softmax
 * (Milakov and Gimelshein, 2018). A workgroup handles one query head of up to 8 rows of a segment:
 *
 *     for each 64 keys, at positions that are multiples of 64:
 *         each thread: one key's products with the 8 queries
 *         the new maximum, and what was summed so far scaled to it
 *         each thread: its dimensions of the sum of V
 *
 * With a window, a row sees only the last keys up to its own; it also sees `ahead` more, as far as
 * its segment has them. The position of a key in the blocks
 * does not depend on other rows, and a key that a row must not see has a weight of exactly 0, so
 * the bits of a row do not depend on other rows. Up to 4 rows, as when decoding, skip the second
 * vector.
 */
export function attention(type: KvType, features: Features): string {
  const folds = fold('vec4f', features)
  const scaleOf = (heads: string) =>
    type === 'int8' ? `bitcast<f32>(kv[page + 2u * p.kv_heads * head_words + (${heads}) * 16u + key % 16u])` : '1.0'
  return /* wgsl */ `${head(params, folds.enable)}${folds.functions}
const per = ${perWord[type]}u;
const lowest = -3.4e38;
${reading[type]}
struct Rows { highs: vec4u, lows: vec4u, most: vec4f, total: vec4f }
// These hold the queries, and the weights of 64 keys times the scales of V: "low" those of rows 0 to
// 3, "high" those of rows 4 to 7.
var<workgroup> q_low: array<vec4f, ${longestHead}>;
var<workgroup> q_high: array<vec4f, ${longestHead}>;
var<workgroup> w_low: array<vec4f, 64>;
var<workgroup> w_high: array<vec4f, 64>;
fn page_of(list: u32, key: u32) -> u32 { return p.layer + t[list + key / 16u] * p.page_words; }
fn queries(row: u32, count: u32, at: u32) -> vec4f {
  var four = vec4f(0.0);
  for (var r = 0u; r < min(count, 4u); r++) { four[r] = a[p.q + (row + r) * p.q_stride + at] * p.scale; }
  return four;
}
fn rows_from(first: u32, last: u32) -> Rows {
  let numbers = vec4u(first) + vec4u(0u, 1u, 2u, 3u);
  let lows = select(vec4u(0u), numbers + 1u - min(numbers + 1u, vec4u(p.window)), vec4<bool>(p.window > 0u));
  // Rows beyond the last of the segment are not written, whatever they see.
  let highs = min(numbers + min(vec4u(p.ahead), vec4u(last)), vec4u(last));
  return Rows(highs, lows, vec4f(lowest), vec4f(0.0));
}
fn seen(rows: Rows, key: u32, end: u32) -> vec4<bool> {
  return (vec4u(key) <= rows.highs) & (vec4u(key) >= rows.lows) & vec4<bool>(key < end);
}
fn capped(score: vec4f) -> vec4f {
  if (p.cap > 0.0) { return p.cap * tanh(clamp(score / p.cap, vec4f(-15.0), vec4f(15.0))); }
  return score;
}
// Adds a block's scores to the running softmax. Returns its weights and sets how much older sums fade.
fn softmax(rows: ptr<function, Rows>, score: vec4f, sees: vec4<bool>, thread: u32, fade: ptr<function, vec4f>) -> vec4f {
  let kept = select(vec4f(lowest), capped(score), sees);
  let higher = max((*rows).most, fold_max(kept, thread));
  *fade = exp((*rows).most - higher);
  let weight = select(vec4f(0.0), exp(kept - higher), sees);
  (*rows).most = higher;
  (*rows).total = (*rows).total * *fade + fold_add(weight, thread);
  return weight;
}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32${folds.parameters}) {${folds.begin}
  let block = p.blocks + group.x * ${blockWords}u;
  let row = t[block] - p.row0;
  let count = t[block + 1u];
  let first = t[block + 2u];
  let list = p.pages + t[block + 3u];
  let wide = count > 4u;
  let q_head = group.y;
  let kv_head = q_head * p.kv_heads / p.heads;
  let head_words = 16u * p.dim / per;
  for (var d = thread; d < p.dim; d += 64u) {
    q_low[d] = queries(row, count, q_head * p.dim + d);
    if (wide) { q_high[d] = queries(row + 4u, count - 4u, q_head * p.dim + d); }
  }
  workgroupBarrier();
  let last = t[block + 4u] - 1u;
  var low = rows_from(first, last);
  var high = rows_from(first + 4u, last);
  var low_sums: array<vec4f, ${longestHead / 64}>;
  var high_sums: array<vec4f, ${longestHead / 64}>;
  let end = min(first + count + min(p.ahead, last), last + 1u);
  // Blocks before the first key that the first row sees are before all windows.
  for (var base = low.lows.x / 64u * 64u; base < end; base += 64u) {
    let key = base + thread;
    var low_score = vec4f(0.0);
    var high_score = vec4f(0.0);
    var v_scale = 1.0;
    if (key < end) {
      let page = page_of(list, key);
      let start = page + kv_head * head_words;
      if (wide) {
        for (var d = 0u; d < p.dim; d++) {
          let x = element(start, d * 16u + key % 16u);
          low_score += x * q_low[d];
          high_score += x * q_high[d];
        }
      } else {
        for (var d = 0u; d < p.dim; d++) { low_score += element(start, d * 16u + key % 16u) * q_low[d]; }
      }
      let k_scale = ${scaleOf('kv_head')};
      low_score *= k_scale;
      high_score *= k_scale;
      v_scale = ${scaleOf('p.kv_heads + kv_head')};
    }
    var low_fade: vec4f;
    var high_fade: vec4f;
    w_low[thread] = softmax(&low, low_score, seen(low, key, end), thread, &low_fade) * v_scale;
    if (wide) { w_high[thread] = softmax(&high, high_score, seen(high, key, end), thread, &high_fade) * v_scale; }
    workgroupBarrier();
    for (var j = 0u; j < ${longestHead / 64}u; j++) {
      let d = thread + j * 64u;
      if (d >= p.dim) { break; }
      var low_sum = vec4f(0.0);
      var high_sum = vec4f(0.0);
      for (var part = base; part < min(base + 64u, end); part += 16u) {
        let start = page_of(list, part) + (p.kv_heads + kv_head) * head_words;
        let keys = min(16u, end - part);
        for (var i = 0u; i < keys; i++) {
          let value = element(start, i * p.dim + d);
          low_sum += w_low[part - base + i] * value;
          if (wide) { high_sum += w_high[part - base + i] * value; }
        }
      }
      low_sums[j] = low_sums[j] * low_fade + low_sum;
      if (wide) { high_sums[j] = high_sums[j] * high_fade + high_sum; }
    }
    workgroupBarrier();
  }
  for (var j = 0u; j < ${longestHead / 64}u; j++) {
    let d = thread + j * 64u;
    if (d >= p.dim) { break; }
    for (var r = 0u; r < count; r++) {
      let value = select(low_sums[j][r % 4u] / low.total[r % 4u], high_sums[j][r % 4u] / high.total[r % 4u], r >= 4u);
      a[p.out + (row + r) * p.out_stride + q_head * p.dim + d] = value;
    }
  }
}`
}
