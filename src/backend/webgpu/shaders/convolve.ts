/** Computes short causal convolutions over pages of inputs; kv.ts says how they lie. */
import type { KvType } from '../../../base/kv.ts'
import { blockWords } from './attention.ts'
import { head } from './common.ts'
import { perWord, reading } from './kv.ts'

/**
 * Returns a kernel for x *= the causal convolution of each segment over its own pages, which hold
 * the inputs: channels of the first half as K, of the second as V. A workgroup handles 64 channels
 * of up to 8 rows of a segment. All inputs come from pages, so the bits of a row do not depend on
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
  let block = p.blocks + group.x * ${blockWords}u;
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
