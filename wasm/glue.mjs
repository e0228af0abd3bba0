/**
 * Turns wasm-bindgen's glue, which keeps one instance for the whole program, into a function that makes instances. A panic
 * in the guide traps and leaves its instance unusable: its owner then makes another one, without loading a module.
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
  return `${header}export function instantiate(module) {\n${body}initSync({ module })\nreturn { ${classes.join(', ')} }\n}\n\n${quietly}`
}

/** Returns `guide.d.ts`, the types of the same. */
export function instanceTypes(types) {
  const classes = classesOf(types, /^export class (\w+) /gm)
  const start = cut(types, /^export type InitInput = /m)
  const body = types.slice(0, start).replace(/^export class /gm, 'declare class ')
  const members = classes.map((name) => `  readonly ${name}: typeof ${name}\n`).join('')
  return `${header}${body.trimEnd()}

export type { ${classes.join(', ')} }

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
