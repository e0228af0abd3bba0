/**
 * Writes and reads K and V in pages of 16 tokens, in the layout of the Wasm core
 * (wasm/core/src/lib.rs): K (heads, dim, 16) transposed, V (heads, 16, dim), and for int8 then f32
 * scales of K (heads, 16) and V (heads, 16). Indices count words of four bytes.
 */
import type { KvType } from '../../../base/kv.ts'
import type { Features } from '../features.ts'
import { fold, head } from './common.ts'

/** Number of elements in a word. */
const perWord: Readonly<Record<KvType, number>> = { f32: 1, f16: 2, int8: 4 }

/**
 * Returns a kernel that writes the K and V of a pass. A workgroup handles one head of one page; for
 * each page that the pass touches, the tables hold its first row, its number of rows, its id, and
 * the first token written. If elements are smaller than a word, one thread owns each word, because
 * a word of K holds neighbouring tokens and those of other passes must not change.
 */
export function writeKv(type: KvType): string {
  const per = perWord[type]
  return /* wgsl */ `${head(['tiles', 'row0', 'k', 'v', 'stride', 'layer', 'page_words', 'heads', 'dim'])}
const per = ${per}u;
var<workgroup> scales: array<vec2f, 32>; // of K's 16 tokens, then V's: the scale and its inverse
${element[type]}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let tile = p.tiles + group.x * 4u;
  let row = t[tile] - p.row0;
  let count = t[tile + 1u];
  let page = p.layer + t[tile + 2u] * p.page_words;
  let first = t[tile + 3u];
  let head_words = 16u * p.dim / per;
  let k_to = page + group.y * head_words;
  let v_to = page + (p.heads + group.y) * head_words;
  let k = p.k + row * p.stride + group.y * p.dim;
  let v = p.v + row * p.stride + group.y * p.dim;
${type === 'int8' ? findScales : ''}
  // K: words of ${per} tokens of a dimension.
  let words = (first + count - 1u) / per - first / per + 1u;
  for (var i = thread; i < p.dim * words; i += 64u) {
    let d = i / words;
    let word = first / per + i % words;
    let to = k_to + (d * 16u) / per + word;
    var kept = kv[to];
    for (var j = 0u; j < per; j++) {
      let token = word * per + j;
      if (token >= first && token < first + count) {
        kept = insert(kept, j, a[k + (token - first) * p.stride + d], scales[token].y);
      }
    }
    kv[to] = kept;
  }
  // V: words of ${per} dimensions of a token.
  for (var i = thread; i < count * p.dim / per; i += 64u) {
    let token = i / (p.dim / per);
    let d = i % (p.dim / per) * per;
    var word = 0u;
    for (var j = 0u; j < per; j++) {
      word = insert(word, j, a[v + token * p.stride + d + j], scales[16u + first + token].y);
    }
    kv[v_to + ((first + token) * p.dim + d) / per] = word;
  }
}`
}

/** WGSL of `insert(word, j, value, inverse)`, which returns the word with element j replaced. */
const element: Readonly<Record<KvType, string>> = {
  f32: 'fn insert(word: u32, j: u32, value: f32, inverse: f32) -> u32 { return bitcast<u32>(value); }',
  f16: `fn insert(word: u32, j: u32, value: f32, inverse: f32) -> u32 {
  return insertBits(word, pack2x16float(vec2f(clamp(value, -65504.0, 65504.0), 0.0)), j * 16u, 16u);
}`,
  int8: `fn insert(word: u32, j: u32, value: f32, inverse: f32) -> u32 {
  return insertBits(word, bitcast<u32>(i32(clamp(round(value * inverse), -127.0, 127.0))), j * 8u, 8u);
}`,
}

/** WGSL of a token's scale: its largest magnitude divided by 127, or 0 if that is negligible. */
const findScales = /* wgsl */ `
  if (thread < 2u * count) {
    let of_v = thread >= count;
    let token = thread % count;
    let start = select(k, v, of_v) + token * p.stride;
    var most = 0.0;
    for (var d = 0u; d < p.dim; d++) { most = max(most, min(abs(a[start + d]), 3.4e38)); }
    let some = most >= 1e-36;
    let at = select(0u, 16u, of_v) + first + token;
    scales[at] = select(vec2f(0.0), vec2f(most / 127.0, 127.0 / most), some);
    let to = page + 2u * p.heads * head_words + (select(0u, p.heads, of_v) + group.y) * 16u;
    kv[to + first + token] = bitcast<u32>(scales[at].x);
  }
  workgroupBarrier();
`

/** WGSL that reads an element of a page. */
const reading: Readonly<Record<KvType, string>> = {
  f32: 'fn element(start: u32, i: u32) -> f32 { return bitcast<f32>(kv[start + i]); }',
  f16: 'fn element(start: u32, i: u32) -> f32 { return unpack2x16float(kv[start + i / 2u])[i % 2u]; }',
  int8: 'fn element(start: u32, i: u32) -> f32 { return f32(extractBits(bitcast<i32>(kv[start + i / 4u]), (i % 4u) * 8u, 8u)); }',
}

/** Size of the largest head. */
export const longestHead = 256
/** Number of query rows that share one read of K and V. */
export const queryRows = 4

/**
 * Returns a kernel for causal attention of each segment over its own pages, with a running softmax
 * (Milakov and Gimelshein, 2018). A workgroup handles one query head of up to 4 rows of a segment:
 *
 *     for each 64 keys, at positions that are multiples of 64:
 *         each thread: one key's products with the 4 queries
 *         the new maximum, and what was summed so far scaled to it
 *         each thread: its dimensions of the sum of V
 *
 * With a window, a row sees only the last keys up to its own. The position of a key in the blocks
 * does not depend on other rows, and a key that a row must not see has a weight of exactly 0, so
 * the bits of a row do not depend on other rows.
 */
export function attention(type: KvType, features: Features): string {
  const per = perWord[type]
  const folds = fold('vec4f', features)
  const k =
    type === 'int8' ? ' * bitcast<f32>(kv[page + 2u * p.kv_heads * head_words + kv_head * 16u + key % 16u])' : ''
  const v =
    type === 'int8'
      ? ' * bitcast<f32>(kv[page + 2u * p.kv_heads * head_words + (p.kv_heads + kv_head) * 16u + key % 16u])'
      : ''
  return /* wgsl */ `${head(['out', 'out_stride', 'q', 'q_stride', 'blocks', 'row0', 'pages', 'heads', 'kv_heads', 'dim', 'layer', 'page_words', 'scale: f32', 'window', 'cap: f32'], folds.enable)}${folds.functions}
const per = ${per}u;
const lowest = -3.4e38;
${reading[type]}
var<workgroup> qs: array<f32, ${queryRows * longestHead}>;
var<workgroup> scores: array<vec4f, 64>;
fn page_of(list: u32, key: u32) -> u32 { return p.layer + t[list + key / 16u] * p.page_words; }
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32${folds.parameters}) {${folds.begin}
  let block = p.blocks + group.x * 4u;
  let row = t[block] - p.row0;
  let count = t[block + 1u];
  let first = t[block + 2u];
  let list = p.pages + t[block + 3u];
  let q_head = group.y;
  let kv_head = q_head * p.kv_heads / p.heads;
  let head_words = 16u * p.dim / per;
  for (var i = thread; i < ${queryRows}u * p.dim; i += 64u) {
    let r = i / p.dim;
    var value = 0.0;
    if (r < count) { value = a[p.q + (row + r) * p.q_stride + q_head * p.dim + i % p.dim] * p.scale; }
    qs[i] = value;
  }
  workgroupBarrier();
  var most = vec4f(lowest);
  var total = vec4f(0.0);
  var sums: array<vec4f, ${longestHead / 64}>;
  let end = first + count;
  // The first key that each row sees. Blocks before that of the first row are before all windows.
  let rows = vec4u(first) + vec4u(0u, 1u, 2u, 3u);
  let lows = select(vec4u(0u), rows + 1u - min(rows + 1u, vec4u(p.window)), vec4<bool>(p.window > 0u));
  for (var base = lows.x / 64u * 64u; base < end; base += 64u) {
    let key = base + thread;
    var score = vec4f(0.0);
    if (key < end) {
      let page = page_of(list, key);
      let start = page + kv_head * head_words;
      for (var d = 0u; d < p.dim; d++) {
        let x = element(start, d * 16u + key % 16u);
        score += x * vec4f(qs[d], qs[p.dim + d], qs[2u * p.dim + d], qs[3u * p.dim + d]);
      }
      score = score${k};
      if (p.cap > 0.0) { score = p.cap * tanh(clamp(score / p.cap, vec4f(-15.0), vec4f(15.0))); }
    }
    let seen = (vec4u(key) <= rows) & (vec4u(key) >= lows);
    score = select(vec4f(lowest), score, seen & vec4<bool>(key < end));
    let higher = max(most, fold_max(score, thread));
    let fade = exp(most - higher);
    most = higher;
    let weight = select(vec4f(0.0), exp(score - most), seen & vec4<bool>(key < end));
    scores[thread] = weight;
    // This fold contains a barrier, so all weights have been written after it.
    total = total * fade + fold_add(weight, thread);
    for (var j = 0u; j < ${longestHead / 64}u; j++) {
      let d = thread + j * 64u;
      if (d >= p.dim) { break; }
      var sum = vec4f(0.0);
      for (var i = 0u; i < min(64u, end - base); i++) {
        let key = base + i;
        let page = page_of(list, key);
        let value = element(page + (p.kv_heads + kv_head) * head_words, key % 16u * p.dim + d)${v};
        sum += scores[i] * value;
      }
      sums[j] = sums[j] * fade + sum;
    }
    workgroupBarrier();
  }
  for (var j = 0u; j < ${longestHead / 64}u; j++) {
    let d = thread + j * 64u;
    if (d >= p.dim) { break; }
    for (var r = 0u; r < count; r++) {
      a[p.out + (row + r) * p.out_stride + q_head * p.dim + d] = sums[j][r] / total[r];
    }
  }
}`
}

/**
 * Returns a kernel for x *= the causal convolution of each segment over its own pages, which hold
 * the inputs: channels of the first half as K, of the second as V. A workgroup handles 64 channels
 * of up to 4 rows of a segment. All inputs come from pages, so the bits of a row do not depend on
 * other rows. Pages of int8 hold inputs as f16.
 */
export function convolve(type: KvType): string {
  return /* wgsl */ `${head(['x', 'x_stride', 'blocks', 'row0', 'pages', 'weights', 'taps', 'heads', 'dim', 'layer', 'page_words'])}
${reading[type]}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let channels = 2u * p.heads * p.dim;
  let channel = group.y * 64u + thread;
  if (channel >= channels) { return; }
  let block = p.blocks + group.x * 4u;
  let row = t[block] - p.row0;
  let list = p.pages + t[block + 3u];
  let part = channel / p.dim;
  let d = channel % p.dim;
  let head = part * (16u * p.dim / ${perWord[type]}u);
  for (var r = 0u; r < t[block + 1u]; r++) {
    let position = t[block + 2u] + r;
    var sum = 0.0;
    for (var tap = p.taps - 1u - min(position, p.taps - 1u); tap < p.taps; tap++) {
      let at = position + tap - (p.taps - 1u);
      let page = p.layer + t[list + at / 16u] * p.page_words;
      let index = select(d * 16u + at % 16u, at % 16u * p.dim + d, part >= p.heads);
      sum += a[p.weights + tap * channels + channel] * element(page + head, index);
    }
    a[p.x + (row + r) * p.x_stride + channel] *= sum;
  }
}`
}
