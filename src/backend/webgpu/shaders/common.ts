/**
 * Writes the beginning of every shader: its parameters (at most 16 words of u32 and f32) and the
 * bindings of gpu.ts.
 */
import type { Features } from '../features.ts'

/**
 * Returns the head of a shader. `uses` lists the WGSL features that it enables; `kv` is the element
 * type of binding 5.
 */
export function head(params: readonly string[], uses: readonly string[] = [], kv = 'u32'): string {
  return /* wgsl */ `${uses.map((name) => `enable ${name};`).join('\n')}
struct P { ${params.map((name) => (name.includes(':') ? name : `${name}: u32`)).join(', ')} }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read_write> a: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<vec4u>;
@group(0) @binding(3) var<storage, read> t: array<u32>;
@group(0) @binding(4) var<storage, read> l: array<u32>;
@group(0) @binding(5) var<storage, read_write> kv: array<${kv}>;
`
}

/** WGSL of a fold over 64 threads that returns its result to every thread. */
interface Fold {
  readonly enable: readonly string[]
  /**
   * The functions `fold_add` and `fold_max`, of a value and the index of the thread. All 64 threads
   * must call them, since they contain a barrier.
   */
  readonly functions: string
  /** Further parameters of `main`, and its first statements. */
  readonly parameters: string
  readonly begin: string
}

/**
 * Returns folds for a WGSL type. They combine subgroup results in order, or halve the threads step
 * by step where there are no subgroups.
 */
export function fold(type: 'f32' | 'vec4f', { subgroups }: Pick<Features, 'subgroups'>): Fold {
  return subgroups ? bySubgroups(type) : byHalves(type)
}

const adding = (a: string, b: string) => `${a} + ${b}`
const larger = (a: string, b: string) => `max(${a}, ${b})`

function byHalves(type: string): Fold {
  const one = (name: string, both: (a: string, b: string) => string) => /* wgsl */ `
fn ${name}(value: ${type}, thread: u32) -> ${type} {
  folded[thread] = value;
  workgroupBarrier();
  for (var half = 32u; half > 0u; half /= 2u) {
    if (thread < half) { folded[thread] = ${both('folded[thread]', 'folded[thread + half]')}; }
    workgroupBarrier();
  }
  let all = folded[0];
  workgroupBarrier();
  return all;
}`
  const functions = `var<workgroup> folded: array<${type}, 64>;${one('fold_add', adding)}${one('fold_max', larger)}\n`
  return { enable: [], functions, parameters: '', begin: '' }
}

function bySubgroups(type: string): Fold {
  const one = (name: string, builtin: string, both: (a: string, b: string) => string) => /* wgsl */ `
fn ${name}(value: ${type}, thread: u32) -> ${type} {
  let own = ${builtin}(value);
  if (subgroupElect()) { folded[subgroup] = own; }
  workgroupBarrier();
  var all = folded[0];
  for (var i = 1u; i < subgroups; i++) { all = ${both('all', 'folded[i]')}; }
  workgroupBarrier();
  return all;
}`
  return {
    enable: ['subgroups'],
    functions: `var<private> subgroup: u32;
var<private> subgroups: u32;
var<workgroup> folded: array<${type}, 64>;${one('fold_add', 'subgroupAdd', adding)}${one('fold_max', 'subgroupMax', larger)}\n`,
    parameters: ', @builtin(subgroup_id) subgroup_id: u32, @builtin(num_subgroups) num_subgroups: u32',
    begin: '\n  subgroup = subgroup_id;\n  subgroups = num_subgroups;',
  }
}
