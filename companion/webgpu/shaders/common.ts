/** What every shader begins with: its parameters, 16 words of u32 and f32 at most, and the bindings of gpu.ts. */
export function head(params: readonly string[]): string {
  return /* wgsl */ `
struct P { ${params.map((name) => (name.includes(':') ? name : `${name}: u32`)).join(', ')} }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read_write> a: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<vec4u>;
@group(0) @binding(3) var<storage, read> t: array<u32>;
@group(0) @binding(4) var<storage, read> l: array<u32>;
@group(0) @binding(5) var<storage, read_write> kv: array<u32>;
`
}
