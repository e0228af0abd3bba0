/**
 * Returns WGSL that reads weights in the layouts of weights.ts, 16 elements of a block of 32 at a
 * time.
 */
import type { Kind } from '../weights.ts'

/** Returns true if a weight's elements are d q + m, where q is a whole number of up to 8 bits. */
export function isQuantised(kind: Kind): boolean {
  return kind === 'u4' || kind === 'i8'
}

/**
 * Returns WGSL that reads elements 16h..16h + 15 of block `kb` of output `col`, for a weight of
 * `p.n` outputs and `p.blocks` blocks:
 *
 *     numbers(kb, col, h)   array<vec4f, 4>   q where the kind is quantised, else the elements
 *     scale(kb, col, h)     vec2f             d and m; only for a quantised kind
 */
export function numbers(kind: Kind): string {
  const of = (name: string, type: string, body: string) =>
    `fn ${name}(kb: u32, col: u32, h: u32) -> ${type} {\n  let at = kb * p.n + col;${body}}\n`
  const scale = isQuantised(kind) ? of('scale', 'vec2f', scales(kind === 'u4' ? 1 : 2)) : ''
  return scale + of('numbers', 'array<vec4f, 4>', bodies[kind])
}

/** Returns WGSL with `half_block(kb, col, h)`, which returns the dequantised elements. */
export function halfBlock(kind: Kind): string {
  const body = isQuantised(kind)
    ? `
  var out = numbers(kb, col, h);
  let s = scale(kb, col, h);
  for (var i = 0u; i < 4u; i++) { out[i] = out[i] * s.x + s.y; }
  return out;`
    : '\n  return numbers(kb, col, h);'
  return `${numbers(kind)}fn half_block(kb: u32, col: u32, h: u32) -> array<vec4f, 4> {${body}\n}\n`
}

const scales = (perBlock: number) => `
  let s = p.blocks * p.n * ${perBlock === 1 ? 4 : 8}u + at * ${perBlock}u${perBlock === 1 ? '' : ' + h'};
  return unpack2x16float(w[s / 4u][s % 4u]);
`

const bodies: Readonly<Record<Kind, string>> = {
  u4: /* wgsl */ `
  let words = w[at];
  let two = select(words.xy, words.zw, h == 1u);
  var out: array<vec4f, 4>;
  for (var i = 0u; i < 4u; i++) {
    let word = two[i / 2u] >> ((i % 2u) * 16u);
    out[i] = vec4f(vec4u(word, word >> 4u, word >> 8u, word >> 12u) & vec4u(15u));
  }
  return out;
`,
  i8: /* wgsl */ `
  let words = bitcast<vec4i>(w[at * 2u + h]);
  var out: array<vec4f, 4>;
  for (var i = 0u; i < 4u; i++) {
    let word = words[i];
    let four = vec4i(extractBits(word, 0u, 8u), extractBits(word, 8u, 8u), extractBits(word, 16u, 8u), extractBits(word, 24u, 8u));
    out[i] = vec4f(four);
  }
  return out;
`,
  f16: /* wgsl */ `
  let x = w[at * 4u + h * 2u];
  let y = w[at * 4u + h * 2u + 1u];
  return array<vec4f, 4>(
    vec4f(unpack2x16float(x.x), unpack2x16float(x.y)), vec4f(unpack2x16float(x.z), unpack2x16float(x.w)),
    vec4f(unpack2x16float(y.x), unpack2x16float(y.y)), vec4f(unpack2x16float(y.z), unpack2x16float(y.w)));
`,
  bf16: /* wgsl */ `
  let x = w[at * 4u + h * 2u];
  let y = w[at * 4u + h * 2u + 1u];
  let high = vec4u(0xffff0000u);
  let x_low = bitcast<vec4f>(x << vec4u(16u)); let x_high = bitcast<vec4f>(x & high);
  let y_low = bitcast<vec4f>(y << vec4u(16u)); let y_high = bitcast<vec4f>(y & high);
  return array<vec4f, 4>(
    vec4f(x_low.x, x_high.x, x_low.y, x_high.y), vec4f(x_low.z, x_high.z, x_low.w, x_high.w),
    vec4f(y_low.x, y_high.x, y_low.y, y_high.y), vec4f(y_low.z, y_high.z, y_low.w, y_high.w));
`,
  f32: /* wgsl */ `
  let start = at * 8u + h * 4u;
  return array<vec4f, 4>(bitcast<vec4f>(w[start]), bitcast<vec4f>(w[start + 1u]), bitcast<vec4f>(w[start + 2u]), bitcast<vec4f>(w[start + 3u]));
`,
}
