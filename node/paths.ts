/**
 * Names from outside as paths: the one place where a name that a peer, a listing or a record gives becomes a path. The path that comes out
 * lies inside its root, by its letters (`pathInside`) and through every link on the way (`safePath`).
 */
import { lstat, realpath } from 'node:fs/promises'
import { basename, isAbsolute, join, relative, resolve, sep } from 'node:path'
import { ForetokenError } from '../src/index.ts'

/** Longest part and longest name in bytes of UTF-8: what common file systems take. */
const longest = { part: 255, name: 1024 }

/** Windows opens a device under these names, whatever ending they have. */
const device = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)([. ]|$)/i

/**
 * Checks a relative name with forward slashes, such as `onnx/model.onnx`, and returns it. Throws `bad_argument` for a name that could leave its
 * folder, or that means something else on another system.
 */
export function checkFileName(name: string): string {
  const why = fault(name)
  if (why === undefined) return name
  throw new ForetokenError('bad_argument', `the file name ${JSON.stringify(name.slice(0, 200))} ${why}; refused`)
}

/** `root` and the names below it, each checked, as one path. Links are not looked at: see `safePath`. */
export function pathInside(root: string, ...names: readonly string[]): string {
  return join(root, ...names.map(checkFileName))
}

/**
 * As `pathInside`, and no folder on the way is a link that leads out of `root`. The last part may be a link: whoever writes replaces it,
 * and never writes through it. Throws `bad_argument`.
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
  /** The root, every link resolved. */
  readonly root: string
  /** The path with every link on its way resolved, but for its last part; undefined where its folder is outside. */
  readonly link: string | undefined
  /** The same with the last one resolved, too; undefined where that is outside, or nothing. */
  readonly target: string | undefined
}

/** Where a path from a record lies, seen from a root that it must be below by its letters; undefined where it is not. */
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
    // Controls, a Windows separator, a drive or a stream.
    if ([...part].some((c) => c < ' ' || (c >= '\x7f' && c < '\xa0') || c === '\\' || c === ':'))
      return 'holds a character that no file name may have'
    // Windows drops these.
    if (/[. ]$/.test(part)) return 'ends in a dot or a space'
    if (device.test(part)) return 'is the name of a device'
  }
  return undefined
}

/** The real folder of `folder` and the real `root`; undefined in place of the folder where a link leads out. What is not there yet is as it will be. */
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
      // Nothing is there, or a link to nothing: a folder that is made through it may be anywhere.
      const dangling = await lstat(at).catch(() => undefined)
      return [dangling ? undefined : join(real, ...parts.slice(index)), top]
    }
    if (!lies(top, found)) return [undefined, top]
    real = found
  }
  return [real, top]
}

/** Whether `path` is `root` or below it; both are absolute. */
function lies(root: string, path: string): boolean {
  const way = relative(root, path)
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)
}
