/** Makes Python environments with one package of PyPI each, under node_modules/.cache. */
import { spawnSync } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './setup.mjs'

/**
 * Returns a function that resolves names of programs in the environment: `python` and those of the
 * package. Makes the environment on first use; throws with the next step if that fails.
 */
export function pythonWith(name, version) {
  const venv = join(root, 'node_modules', '.cache', `${name}-${version}`)
  const bin = join(venv, process.platform === 'win32' ? 'Scripts' : 'bin')
  const python = join(bin, 'python')
  const ready = join(venv, 'installed')
  if (!existsSync(ready)) {
    rmSync(venv, { recursive: true, force: true })
    install('python3', ['-m', 'venv', venv])
    install(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', `${name}==${version}`])
    // Written last, so that an incomplete environment is made again.
    install(python, ['-c', `open(${JSON.stringify(ready)}, "w").close()`])
  }
  return (program) => join(bin, program)
}

function install(command, args) {
  // Stdout is reserved for the caller.
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 2, 2] })
  if (status === 0) return
  const why = error ? `: ${error.message}` : ''
  throw new Error(
    `${command} ${args.join(' ')} failed${why}; it needs Python 3.10 or later with venv, and access to PyPI`,
  )
}
