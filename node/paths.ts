/**
 * Turns names from outside into paths. This is the only place where a name from a peer, a listing
 * or a record becomes a path. The resulting path lies inside its root, by its letters
 * (`pathInside`) and through every link on the way (`safePath`).
 */
import { lstat, realpath } from 'node:fs/promises'
import { basename, isAbsolute, join, relative, resolve, sep } from 'node:path'
import { ForetokenError } from '../src/index.ts'

/** Maximum bytes of UTF-8 of a part and of a whole name, which common file systems accept. */
const longest = { part: 255, name: 1024 }

/** Windows opens a device under these names, whatever their extension. */
const device = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)([. ]|$)/i

/**
 * Checks a relative name with forward slashes, such as `onnx/model.onnx`, and returns it. Throws
 * `bad_argument` for a name that could leave its folder, or that means something else on another
 * system.
 */
export function checkFileName(name: string): string {
  const why = fault(name)
  if (why === undefined) return name
  throw new ForetokenError('bad_argument', `the file name ${JSON.stringify(name.slice(0, 200))} ${why}; refused`)
}

/** Joins `root` and the names below it, each checked. Does not look at links: see `safePath`. */
export function pathInside(root: string, ...names: readonly string[]): string {
  return join(root, ...names.map(checkFileName))
}

/**
 * Does the same as `pathInside`, and checks that no folder on the way is a link that leads out of
 * `root`. The last part may be a link: writers replace it and never write through it. Throws
 * `bad_argument`.
 */
export async function safePath(root: string, ...names: readonly string[]): Promise<string> {
  const path = pathInside(root, ...names)
  const [parent] = await followed(root, join(path, '..'))
  if (parent !== undefined) return path
  throw new ForetokenError(
    'bad_argument',
    `${path} leads out of ${root} by a link on its way; remove the link, or choose another folder`,
  )
}

export interface Place {
  /** The root with every link resolved. */
  readonly root: string
  /** The path with every link resolved except its last part; undefined if its folder is outside. */
  readonly link: string | undefined
  /** The path with its last part resolved, too; undefined if that is outside or does not exist. */
  readonly target: string | undefined
}

/**
 * Returns where a path from a record lies. The path must be below `root` by its letters, else the
 * result is undefined.
 */
export async function placeInside(root: string, path: string): Promise<Place | undefined> {
  const base = resolve(root)
  if (!isAbsolute(path) || resolve(path) !== path || !lies(base, path)) return undefined
  if (fault(relative(base, path).split(sep).join('/')) !== undefined) return undefined
  const [parent, top] = await followed(base, join(path, '..'))
  const target = await realpath(path).catch(() => undefined)
  return {
    root: top,
    link: parent && join(parent, basename(path)),
    target: target !== undefined && lies(top, target) ? target : undefined,
  }
}

function fault(name: string): string | undefined {
  if (name === '') return 'is empty'
  if (Buffer.byteLength(name) > longest.name) return `has more than ${longest.name} bytes`
  if (!name.isWellFormed()) return 'is not Unicode text'
  for (const part of name.split('/')) {
    if (part === '' || part === '.' || part === '..') return 'leaves its folder'
    if (Buffer.byteLength(part) > longest.part) return `has a part of more than ${longest.part} bytes`
    // Control characters, a Windows separator, a drive or a stream.
    if ([...part].some((c) => c < ' ' || (c >= '\x7f' && c < '\xa0') || c === '\\' || c === ':'))
      return 'holds a character that no file name may have'
    // Windows drops these.
    if (/[. ]$/.test(part)) return 'ends in a dot or a space'
    if (device.test(part)) return 'is the name of a device'
  }
  return undefined
}

/**
 * Returns the real folder of `folder` and the real `root`. The folder is undefined if a link leads
 * out. Parts that do not exist yet are taken as they would be created.
 */
async function followed(root: string, folder: string): Promise<readonly [string | undefined, string]> {
  const base = resolve(root)
  const top = await realpath(base).catch(() => base)
  const parts = relative(base, resolve(folder))
    .split(sep)
    .filter((part) => part !== '')
  let at = base
  let real = top
  for (const [index, part] of parts.entries()) {
    at = join(at, part)
    const found = await realpath(at).catch(() => undefined)
    if (found === undefined) {
      // Nothing is there, or a link to nothing: a folder created through it may be anywhere.
      const dangling = await lstat(at).catch(() => undefined)
      return [dangling ? undefined : join(real, ...parts.slice(index)), top]
    }
    if (!lies(top, found)) return [undefined, top]
    real = found
  }
  return [real, top]
}

/** Returns true if `path` is `root` or below it. Both must be absolute. */
function lies(root: string, path: string): boolean {
  const way = relative(root, path)
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)
}
