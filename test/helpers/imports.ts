/** Reads the imports of a source tree and checks them against rules. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

export interface Import {
  readonly from: string
  /** A file of the tree, relative to its root; or a package or a `node:` module, as written. */
  readonly to: string
}

/** Lists source files of `folders` below `root`, relative to it, with forward slashes. */
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

/**
 * Finds every import of a text: static, type, side effect, re-export, dynamic, `import('x').T`,
 * `require`.
 */
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

/**
 * Replaces comments by blanks; strings are kept, so that `'//'` in one does not start a comment.
 */
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

/** A folder (or one file), and the paths that its files may import. */
export interface Folder {
  readonly path: string
  /** The reason for its place, in one line. */
  readonly why: string
  /** Paths of earlier folders; a path that ends in `/` stands for every earlier folder below it. */
  readonly uses: readonly string[]
}

/** Returns the folder of a file: the longest path that contains it. */
export function folderOf(file: string, folders: readonly Folder[]): Folder | undefined {
  const around = folders.filter(({ path }) => file === path || file.startsWith(`${path}/`))
  return around.sort((a, b) => b.path.length - a.path.length)[0]
}

/** Returns the folders for which a permission of `folder` stands. */
function meantBy(use: string, folder: Folder, folders: readonly Folder[]): readonly Folder[] {
  if (!use.endsWith('/')) return folders.filter(({ path }) => path === use)
  return folders.slice(0, folders.indexOf(folder)).filter(({ path }) => path.startsWith(use))
}

/** Lists imports that their folder may not make. */
export function violations(imports: readonly Import[], folders: readonly Folder[]): string[] {
  return imports.flatMap(({ from, to }) => {
    const [a, b] = [folderOf(from, folders), folderOf(to, folders)]
    if (!a) return [`${from} is in no folder`]
    if (!b || a === b || a.uses.some((use) => meantBy(use, a, folders).includes(b))) return []
    return [`${from} imports ${to}: ${a.path} does not use ${b.path}`]
  })
}

/** Lists permissions that do not point to an earlier folder, and unused ones. */
export function loosePermissions(imports: readonly Import[], folders: readonly Folder[]): string[] {
  return folders.flatMap((folder, at) =>
    folder.uses.flatMap((use) => {
      const meant = meantBy(use, folder, folders)
      if (meant.length === 0) return [`${folder.path} uses ${use}, which is not a folder`]
      if (meant.some((other) => folders.indexOf(other) >= at))
        return [`${folder.path} uses ${use}, which is not an earlier folder`]
      const needed = imports.some(({ from, to }) => {
        const target = folderOf(to, folders)
        return folderOf(from, folders) === folder && target !== undefined && meant.includes(target)
      })
      return needed ? [] : [`${folder.path} does not import ${use}`]
    }),
  )
}

/** Lists import cycles, one path for each; type imports count. */
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
