/** The imports of a source tree, and what is wrong with them. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

export interface Import {
  readonly from: string
  /** A file of the tree, relative to its root; or a package or a `node:` module, as it is written. */
  readonly to: string
}

/** Source files of `folders` below `root`, relative to it, with forward slashes. */
export function sourceFiles(root: string, folders: readonly string[]): string[] {
  return folders.flatMap((folder) => {
    try {
      return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && /\.(ts|mts|mjs|js|tsx)$/.test(entry.name))
        .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
        .filter((file) => !file.includes('node_modules/'))
    } catch {
      // Not every folder of the design exists yet.
      return []
    }
  })
}

/** Every import of a text: static, type, side effect, re-export, dynamic, `import('x').T`, `require`. */
export function specifiers(text: string): string[] {
  const code = withoutComments(text)
  const found = new Set<string>()
  const patterns = [
    /\b(?:import|export)\b[^'"`;()]*?\bfrom\s*(['"])([^'"\n]+)\1/g,
    /\bimport\s*(['"])([^'"\n]+)\1/g,
    /\b(?:import|require)\s*\(\s*(['"`])([^'"`\n]+)\1/g,
  ]
  for (const pattern of patterns) for (const match of code.matchAll(pattern)) found.add(match[2]!)
  return [...found]
}

/** Text with its comments blanked; strings are kept, so that `'//'` in one is no comment. */
function withoutComments(text: string): string {
  const token = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\/[^\n]*|\/\*[\s\S]*?\*\//g
  return text.replace(token, (match) => (match.startsWith('/') ? ' ' : match))
}

export function importsOf(root: string, files: readonly string[]): Import[] {
  return files.flatMap((from) =>
    specifiers(readFileSync(join(root, from), 'utf8')).map((specifier) => ({
      from,
      to: specifier.startsWith('.')
        ? relative(root, resolve(root, dirname(from), specifier)).replaceAll('\\', '/')
        : specifier,
    })),
  )
}

/** One stage of the order: its name, and the files that are of it. */
export interface Layer {
  readonly name: string
  readonly rank: number
  readonly holds: RegExp
}

/**
 * Imports that go against the order: a layer may import itself and layers of a lower rank. Two layers of one rank
 * may not import each other, but for the pairs `from>to` of `allowed`.
 */
export function violations(
  imports: readonly Import[],
  layers: readonly Layer[],
  allowed: readonly string[] = [],
): string[] {
  const layerOf = (file: string) => layers.find((layer) => layer.holds.test(file))
  return imports.flatMap(({ from, to }) => {
    const [a, b] = [layerOf(from), layerOf(to)]
    if (!a) return [`${from} is in no layer`]
    if (!b || a === b || b.rank < a.rank || allowed.includes(`${a.name}>${b.name}`)) return []
    return [`${from} (${a.name}) imports ${to} (${b.name})`]
  })
}

/** Rings of files that import each other, one for each; type imports count. */
export function cycles(imports: readonly Import[]): string[] {
  const next = new Map<string, string[]>()
  for (const { from, to } of imports) next.set(from, [...(next.get(from) ?? []), to])
  const state = new Map<string, 'open' | 'done'>()
  const found: string[] = []
  const visit = (file: string, path: readonly string[]) => {
    if (state.get(file) === 'done') return
    if (state.get(file) === 'open') {
      found.push([...path.slice(path.indexOf(file)), file].join(' > '))
      return
    }
    state.set(file, 'open')
    for (const to of next.get(file) ?? []) visit(to, [...path, file])
    state.set(file, 'done')
  }
  for (const file of next.keys()) visit(file, [])
  return found
}
