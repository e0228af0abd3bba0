/**
 * Writes K and V into pages of 16 tokens, in the layout of the Wasm core
 * (wasm/core/src/lib.rs): K (heads, dim, 16) transposed, V (heads, 16, dim), and for int8 then f32
 * scales of K (heads, 16) and V (heads, 16). Indices count words of four bytes.
 */
import type { KvType } from '../../../base/kv.ts'
import { head } from './common.ts'

/** Number of elements in a word. */
export const perWord: Readonly<Record<KvType, number>> = { f32: 1, f16: 2, int8: 4 }

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
export const reading: Readonly<Record<KvType, string>> = {
  f32: 'fn element(start: u32, i: u32) -> f32 { return bitcast<f32>(kv[start + i]); }',
  f16: 'fn element(start: u32, i: u32) -> f32 { return unpack2x16float(kv[start + i / 2u])[i % 2u]; }',
  int8: 'fn element(start: u32, i: u32) -> f32 { return f32(extractBits(bitcast<i32>(kv[start + i / 4u]), (i % 4u) * 8u, 8u)); }',
}
