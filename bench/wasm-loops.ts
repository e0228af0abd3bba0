/**
 * Reads what the inner loops of a wasm module demand of an engine: how long their chains of
 * dependent products are, and how many vectors are alive at once. Engines compile a loop in the
 * order in which it is written, so both follow from the module's bytes, without an engine.
 */
import { defined } from '../src/base/at.ts'

/** An innermost loop that multiplies vectors. */
export interface Loop {
  /** The index of its function. */
  readonly fn: number
  /** Its index among the loops of the function. */
  readonly at: number
  /** Number of products of vectors in one iteration, by kind. */
  readonly products: Readonly<Partial<Record<Product, number>>>
  /**
   * The longest chain of integer products and their sums in one iteration, each needing the one
   * before.
   */
  readonly chain: number
  /** The longest chain of float products and sums from one iteration to the next. */
  readonly carried: number
  /** The maximum number of v128 values that are alive at once. */
  readonly live: number
  /** Number of vectors that an iteration hands on to the next. */
  readonly handed: number
}

export type Product = 'relaxed dot' | 'relaxed pairs' | 'pairs' | 'multiply-add' | 'multiply'

/** SIMD opcodes that multiply, after the prefix 0xfd. */
const products: Readonly<Record<number, Product>> = {
  275: 'relaxed dot',
  274: 'relaxed pairs',
  186: 'pairs',
  261: 'multiply-add',
  262: 'multiply-add',
  230: 'multiply',
}
/** i16x8.add and i32x4.add, which sum integer products. */
const integerSums = new Set([0x8e, 0xae])
/** f32x4.add, f32x4.sub. */
const floatSums = new Set([0xe4, 0xe5])

interface Op {
  readonly code: number
  /** The opcode after a prefix. */
  readonly sub: number
  /** A local, a depth or a block's type. */
  readonly value: number
}

/** Returns the innermost loops of a module that multiply vectors, in the order of its code. */
export function multiplyingLoops(bytes: Uint8Array): Loop[] {
  const module = read(bytes)
  return module.bodies.flatMap(({ fn, ops, vectors }) => {
    return innermost(ops)
      .map((range, at) => measure(fn, at, ops.slice(range.from, range.to), vectors, module.calls))
      .filter((loop) => Object.keys(loop.products).length > 0)
  })
}

/** Returns where innermost loops begin and end. */
function innermost(ops: readonly Op[]): { from: number; to: number }[] {
  const open: { at: number; loop: boolean; inner: boolean }[] = []
  const ranges: { from: number; to: number }[] = []
  ops.forEach(({ code }, at) => {
    if (code === 2 || code === 3 || code === 4) open.push({ at, loop: code === 3, inner: false })
    if (code !== 0x0b) return
    const block = open.pop()
    if (!block?.loop) return
    if (!block.inner) ranges.push({ from: block.at + 1, to: at })
    for (const outer of open) outer.inner = true
  })
  return ranges
}

/** A value on the stack: whether it is a vector, and how long the chains are that end in it. */
interface Value {
  readonly vector: boolean
  readonly chain: number
  /** Lengths by the local in which the chain began, before this iteration. */
  readonly carried: ReadonlyMap<number, number>
}

const scalar: Value = { vector: false, chain: 0, carried: new Map() }

function measure(fn: number, at: number, ops: readonly Op[], vectors: ReadonlySet<number>, calls: Calls): Loop {
  const counts: Partial<Record<Product, number>> = {}
  const locals = new Map<number, Value>()
  const stack: Value[] = []
  const pop = () => stack.pop() ?? scalar
  /** Number of vectors on the stack after each op. */
  const stacked: number[] = []
  let chain = 0
  for (const op of ops) {
    if (op.code === 0x20) {
      const local = locals.get(op.value)
      stack.push(
        local ?? (vectors.has(op.value) ? { vector: true, chain: 0, carried: new Map([[op.value, 0]]) } : scalar),
      )
    } else if (op.code === 0x21 || op.code === 0x22) {
      const value = pop()
      if (vectors.has(op.value)) locals.set(op.value, { ...value, vector: true })
      if (op.code === 0x22) stack.push(vectors.has(op.value) ? { ...value, vector: true } : value)
    } else {
      const [takes, gives] = effect(op, calls)
      const taken = Array.from({ length: takes }, pop)
      if (gives !== 'none') {
        const product = op.code === 0xfd ? products[op.sub] : undefined
        if (product) counts[product] = (counts[product] ?? 0) + 1
        const integer = product === 'relaxed dot' || product === 'relaxed pairs' || product === 'pairs'
        const before = Math.max(0, ...taken.map((value) => value.chain))
        // A sum counts if it adds products up; "a product, and a sum of it" is one step, not two.
        const sums = op.code === 0xfd && integerSums.has(op.sub) && before > 0
        const onto = sums ? Math.min(...taken.map((value) => value.chain)) > 0 : product === 'relaxed dot'
        const longest = integer && !onto ? Math.max(1, before) : onto ? before + 1 : before
        const step = op.code === 0xfd && (product === 'multiply-add' || floatSums.has(op.sub)) ? 1 : 0
        const carried = new Map<number, number>()
        for (const value of taken)
          for (const [local, length] of value.carried)
            carried.set(local, Math.max(carried.get(local) ?? 0, length + step))
        const vector = gives === 'vector'
        stack.push(vector ? { vector, chain: longest, carried } : scalar)
        chain = Math.max(chain, vector ? longest : 0)
      }
    }
    stacked.push(stack.filter((value) => value.vector).length)
  }
  let carried = 0
  let handed = 0
  const exposed = exposedReads(ops, vectors)
  for (const [local, value] of locals) {
    if (!exposed.has(local)) continue
    handed++
    carried = Math.max(carried, value.carried.get(local) ?? 0)
  }
  return { fn, at, products: counts, chain, carried, live: mostAlive(ops, vectors, stacked, exposed), handed }
}

/** Returns the locals whose value from before the iteration is read in it. */
function exposedReads(ops: readonly Op[], vectors: ReadonlySet<number>): Set<number> {
  const written = new Set<number>()
  const read = new Set<number>()
  for (const { code, value } of ops) {
    if (!vectors.has(value)) continue
    if (code === 0x20 && !written.has(value)) read.add(value)
    if (code === 0x21 || code === 0x22) written.add(value)
  }
  return read
}

function mostAlive(
  ops: readonly Op[],
  vectors: ReadonlySet<number>,
  stacked: readonly number[],
  exposed: ReadonlySet<number>,
): number {
  const alive = new Set(exposed)
  let most = alive.size
  for (let at = ops.length - 1; at >= 0; at--) {
    most = Math.max(most, alive.size + defined(stacked[at]))
    const { code, value } = defined(ops[at])
    if (!vectors.has(value)) continue
    if (code === 0x21 || code === 0x22) alive.delete(value)
    if (code === 0x20) alive.add(value)
  }
  return most
}

/** Number of arguments and results of types, and the type of each function. */
interface Calls {
  readonly types: readonly (readonly [number, number])[]
  readonly functions: readonly number[]
}

type Gives = 'none' | 'scalar' | 'vector'

/** Returns how many values an op takes from the stack, and what it puts there. */
function effect({ code, sub, value }: Op, calls: Calls): readonly [number, Gives] {
  if (code === 0xfd) return simd(sub)
  if (code === 0xfe) return sub <= 2 ? [sub === 0 ? 2 : 3, 'scalar'] : atomic(sub)
  if (code === 0xfc) return sub < 8 ? [1, 'scalar'] : [3, 'none']
  if (code === 0x10 || code === 0x11) {
    const [takes, gives] = defined(calls.types[code === 0x10 ? defined(calls.functions[value]) : value])
    return [takes + (code === 0x11 ? 1 : 0), gives > 0 ? 'scalar' : 'none']
  }
  if (code === 0x04 || code === 0x0d || code === 0x0e || code === 0x1a || code === 0x24) return [1, 'none']
  if (code < 0x1b || code === 0x0b) return [0, 'none']
  if (code === 0x1b || code === 0x1c) return [3, 'scalar']
  if (code === 0x23 || code === 0x3f || (code >= 0x41 && code <= 0x44)) return [0, 'scalar']
  if (code >= 0x28 && code <= 0x35) return [1, 'scalar']
  if (code >= 0x36 && code <= 0x3e) return [2, 'none']
  if (code === 0x40 || code === 0x45 || code === 0x50) return [1, 'scalar']
  const unary = (code >= 0x67 && code <= 0x69) || (code >= 0x79 && code <= 0x7b)
  const float = (code >= 0x8b && code <= 0x91) || (code >= 0x99 && code <= 0x9f)
  return [unary || float || code >= 0xa7 ? 1 : 2, 'scalar']
}

function atomic(sub: number): readonly [number, Gives] {
  if (sub === 3) return [0, 'none']
  if (sub <= 0x16) return [1, 'scalar']
  if (sub <= 0x1d) return [2, 'none']
  return [sub >= 0x48 ? 3 : 2, 'scalar']
}

/** Opcodes that turn one vector into one, from the specification's table. */
const unaryVectors = new Set([
  0x4d, 0x5e, 0x5f, 0x60, 0x61, 0x62, 0x67, 0x68, 0x69, 0x6a, 0x74, 0x75, 0x7a, 0x7c, 0x7d, 0x7e, 0x7f, 0x80, 0x81,
  0x87, 0x88, 0x89, 0x8a, 0x94, 0xa0, 0xa1, 0xa7, 0xa8, 0xa9, 0xaa, 0xc0, 0xc1, 0xc7, 0xc8, 0xc9, 0xca, 0xe0, 0xe1,
  0xe3, 0xec, 0xed, 0xef, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff, 0x101, 0x102, 0x103, 0x104,
])

function simd(sub: number): readonly [number, Gives] {
  if (sub <= 0x0a || sub === 0x5c || sub === 0x5d) return [1, 'vector']
  if (sub === 0x0b) return [2, 'none']
  if (sub === 0x0c) return [0, 'vector']
  if (sub >= 0x0f && sub <= 0x14) return [1, 'vector']
  // Lanes: out of a vector, or into one.
  if (sub >= 0x15 && sub <= 0x22)
    return [0x17, 0x1a, 0x1c, 0x1e, 0x20, 0x22].includes(sub) ? [2, 'vector'] : [1, 'scalar']
  if (sub >= 0x54 && sub <= 0x57) return [2, 'vector']
  if (sub >= 0x58 && sub <= 0x5b) return [2, 'none']
  if ([0x53, 0x63, 0x64, 0x83, 0x84, 0xa3, 0xa4, 0xc3, 0xc4].includes(sub)) return [1, 'scalar']
  if (sub === 0x52 || (sub >= 0x105 && sub <= 0x10c) || sub === 0x113) return [3, 'vector']
  return [unaryVectors.has(sub) ? 1 : 2, 'vector']
}

interface Body {
  readonly fn: number
  readonly ops: readonly Op[]
  /** Locals that hold vectors. */
  readonly vectors: ReadonlySet<number>
}

/**
 * Reads the code and the types of a module. Supports only what compilers write: one memory, no
 * references, no exceptions.
 */
function read(bytes: Uint8Array): { bodies: Body[]; calls: Calls } {
  let at = 8
  const leb = () => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = defined(bytes[at++])
      if (shift < 32) value |= (byte & 127) << shift
      if (byte < 128) return value >>> 0
    }
  }
  const list = <T>(item: (index: number) => T): T[] => Array.from({ length: leb() }, (_, index) => item(index))
  const text = () => {
    const length = leb()
    at += length
  }
  const limits = () => {
    const flags = leb()
    leb()
    if ((flags & 1) !== 0) leb()
  }
  let types: { takes: number[]; gives: number[] }[] = []
  const functions: number[] = []
  const bodies: Body[] = []
  let imported = 0
  const memarg = () => {
    leb()
    leb()
  }
  const op = (): Op => {
    const code = defined(bytes[at++])
    let [sub, value] = [0, 0]
    if (code === 2 || code === 3 || code === 4) value = leb()
    else if (code === 0x0c || code === 0x0d || code === 0x10 || (code >= 0x20 && code <= 0x24)) value = leb()
    else if (code === 0x0e) {
      list(leb)
      leb()
    } else if (code === 0x11) {
      value = leb()
      leb()
    } else if (code === 0x1c) list(leb)
    else if (code >= 0x28 && code <= 0x3e) memarg()
    else if (code === 0x3f || code === 0x40 || code === 0x41 || code === 0x42) leb()
    else if (code === 0x43) at += 4
    else if (code === 0x44) at += 8
    else if (code === 0xfc) {
      sub = leb()
      if (sub >= 8) leb()
      if (sub === 8 || sub === 10) leb()
    } else if (code === 0xfd) {
      sub = leb()
      if (sub <= 0x0b || sub === 0x5c || sub === 0x5d) memarg()
      else if (sub === 0x0c || sub === 0x0d) at += 16
      else if (sub >= 0x15 && sub <= 0x22) at++
      else if (sub >= 0x54 && sub <= 0x5b) {
        memarg()
        at++
      }
    } else if (code === 0xfe) {
      sub = leb()
      if (sub === 3) at++
      else memarg()
    }
    // `value` is used for locals and calls only; for other ops it may mean something else.
    return { code, sub, value }
  }
  while (at < bytes.length) {
    const id = defined(bytes[at++])
    const length = leb()
    const end = at + length
    if (id === 1)
      types = list(() => {
        at++
        return { takes: list(leb), gives: list(leb) }
      })
    else if (id === 2)
      list(() => {
        text()
        text()
        const kind = defined(bytes[at++])
        if (kind === 0) {
          functions.push(leb())
          imported++
        } else if (kind === 2) limits()
        else at += 2
      })
    else if (id === 3) functions.push(...list(leb))
    else if (id === 10)
      list((index) => {
        const size = leb()
        const stop = at + size
        const fn = imported + index
        const kinds = [...defined(types[defined(functions[fn])]).takes]
        for (const [count, kind] of list(() => [leb(), leb()] as const))
          for (let i = 0; i < count; i++) kinds.push(kind)
        const ops: Op[] = []
        while (at < stop) ops.push(op())
        const vectors = new Set(kinds.flatMap((kind, local) => (kind === 0x7b ? [local] : [])))
        bodies.push({ fn, ops, vectors })
      })
    at = end
  }
  return { bodies, calls: { types: types.map(({ takes, gives }) => [takes.length, gives.length] as const), functions } }
}
