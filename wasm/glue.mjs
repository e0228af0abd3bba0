/**
 * Turns wasm-bindgen's glue, which keeps one instance for the whole program, into a function that makes instances. A panic
 * in the guide traps and leaves its instance unusable: its owner then makes another one, without loading a module. An
 * instance can be saved and restored elsewhere, so that one thread compiles what another uses.
 */

const header = '// Made by wasm/guide.mjs from what wasm-bindgen wrote. Do not edit.\n'

/** Returns `guide.js`: its only export is `instantiate(module)`, which returns the classes of a new instance. */
export function instanceGlue(glue) {
  const classes = classesOf(glue, /^export class (\w+) /gm)
  const start = cut(glue, /^async function __wbg_load\(/m)
  const initSync = between(glue, /^function initSync\(/m, /^}\n/m)
  // An instance that has trapped may trap again when an object of it is collected, and nobody is there to hear of it.
  const body = `${glue.slice(0, start).replace(/^\/\* @ts-self-types.*\n/, '')}\n${initSync}`
    .replace(/^export class /gm, 'class ')
    .replace(/new FinalizationRegistry\((\w+) => ([^;\n]+)\);/g, 'new FinalizationRegistry(($1) => quietly(() => $2));')
  if (/^export /m.test(body)) throw new Error('the glue exports more than classes; see wasm/glue.mjs')
  if (body.includes('import.meta')) throw new Error('the glue loads its module by itself; see wasm/glue.mjs')
  if (body.split('quietly(').length !== classes.length + 1)
    throw new Error('the glue does not have one finalizer for each class; see wasm/glue.mjs')
  const quietly = 'function quietly(free) {\n  try {\n    free()\n  } catch {}\n}\n'
  return `${header}export function instantiate(module) {\n${body}initSync({ module })\n${images}return { ${classes.join(', ')}, save, restore }\n}\n\n${quietly}`
}

/**
 * Between two calls the state of an instance is its memory, the objects of JavaScript that it refers to, and the addresses
 * of what is used of it: its only global is the stack pointer, which is then where it began.
 */
const images = `
function hostObjects(tokenize) {
  return [tokenize, globalThis, globalThis.performance]
}

function save(vocabulary, grammar, tokenize) {
  const known = hostObjects(tokenize)
  const table = wasm.__wbindgen_externrefs
  const refs = []
  // The first 1028 are those that every instance has.
  for (let slot = 1028; slot < table.length; slot++) {
    const object = table.get(slot)
    if (object === undefined || object === null) continue
    const index = known.indexOf(object)
    if (index < 0) throw new Error('an instance that refers to other objects of its host cannot be saved')
    refs.push([slot, index])
  }
  const memory = new Uint8Array(wasm.memory.buffer.slice(0))
  return { memory, slots: table.length, refs, vocabulary: vocabulary.__wbg_ptr, grammar: grammar ? grammar.__wbg_ptr : 0 }
}

function* restore(saved, tokenize, slice = saved.memory.length) {
  const table = wasm.__wbindgen_externrefs
  if (table.length < saved.slots) table.grow(saved.slots - table.length)
  const known = hostObjects(tokenize)
  for (const [slot, index] of saved.refs) table.set(slot, known[index])
  const pages = Math.ceil((saved.memory.length - wasm.memory.buffer.byteLength) / 65536)
  if (pages > 0) wasm.memory.grow(pages)
  for (let from = 0; from < saved.memory.length; from += slice) {
    if (from > 0) yield
    new Uint8Array(wasm.memory.buffer).set(saved.memory.subarray(from, from + slice), from)
  }
  const vocabulary = Object.create(Vocabulary.prototype)
  vocabulary.__wbg_ptr = saved.vocabulary
  VocabularyFinalization.register(vocabulary, saved.vocabulary, vocabulary)
  return { vocabulary, grammar: saved.grammar === 0 ? undefined : Grammar.__wrap(saved.grammar) }
}

`

/** Returns `guide.d.ts`, the types of the same. */
export function instanceTypes(types) {
  const classes = classesOf(types, /^export class (\w+) /gm)
  const start = cut(types, /^export type InitInput = /m)
  const body = types.slice(0, start).replace(/^export class /gm, 'declare class ')
  const members = classes.map((name) => `  readonly ${name}: typeof ${name}\n`).join('') + imageTypes
  return `${header}${body.trimEnd()}

export type { ${classes.join(', ')} }

/** An instance with its vocabulary, and perhaps a grammar, to be restored in another thread. It can be cloned. */
export interface SavedGuide {
  readonly memory: Uint8Array<ArrayBuffer>
  /** Length of the table of objects of JavaScript, and those that the instance refers to: slot and kind. */
  readonly slots: number
  readonly refs: readonly (readonly [slot: number, kind: number])[]
  /** Addresses. */
  readonly vocabulary: number
  readonly grammar: number
}

/** The classes of one instance. An object of one instance must not be given to another. */
export interface Guide {
${members}}

/**
 * Makes an instance of \`guide.wasm\`. An error that is not a \`GuideError\` (a RuntimeError) means that the instance has
 * trapped: drop it with all of its objects, without \`free\`, and make a new one.
 */
export function instantiate(module: WebAssembly.Module): Guide
`
}

const imageTypes = `  /** Copies this instance. \`tokenize\` is the function that its vocabulary got. */
  save(vocabulary: Vocabulary, grammar: Grammar | undefined, tokenize: (text: string) => Uint32Array): SavedGuide
  /**
   * Turns this instance, which must be new, into a copy of one that was saved; pauses after each \`slice\` bytes of memory.
   * Nothing else of this instance may be used before, and none of its older objects after.
   */
  restore(
    saved: SavedGuide,
    tokenize: (text: string) => Uint32Array,
    slice?: number,
  ): Generator<undefined, { vocabulary: Vocabulary; grammar: Grammar | undefined }, undefined>
`

function classesOf(text, pattern) {
  const names = [...text.matchAll(pattern)].map(([, name]) => name)
  if (names.length === 0) throw new Error('wasm-bindgen wrote no classes; see wasm/glue.mjs')
  return names
}

function cut(text, pattern) {
  const at = text.search(pattern)
  if (at < 0) throw new Error(`wasm-bindgen wrote nothing like ${pattern}; see wasm/glue.mjs`)
  return at
}

function between(text, first, last) {
  const rest = text.slice(cut(text, first))
  const end = last.exec(rest)
  if (!end) throw new Error(`wasm-bindgen wrote nothing like ${last} behind ${first}; see wasm/glue.mjs`)
  return rest.slice(0, end.index + end[0].length)
}
