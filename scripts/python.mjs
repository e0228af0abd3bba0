/** A Python with one package of PyPI, in a folder of its own under node_modules/.cache; made the first time. */
import { spawnSync } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './setup.mjs'

/** Resolves names of programs in it: `python`, and what the package brings. Throws with what to do where it can't be made. */
export function pythonWith(name, version) {
  const venv = join(root, 'node_modules', '.cache', `${name}-${version}`)
  const bin = join(venv, process.platform === 'win32' ? 'Scripts' : 'bin')
  const python = join(bin, 'python')
  const ready = join(venv, 'installed')
  if (!existsSync(ready)) {
    rmSync(venv, { recursive: true, force: true })
    install('python3', ['-m', 'venv', venv])
    install(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', `${name}==${version}`])
    // Written last: what broke off in the middle is made anew.
    install(python, ['-c', `open(${JSON.stringify(ready)}, "w").close()`])
  }
  return (program) => join(bin, program)
}

function install(command, args) {
  // stdout is the caller's own.
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 2, 2] })
  if (status === 0) return
  const why = error ? `: ${error.message}` : ''
  throw new Error(
    `${command} ${args.join(' ')} failed${why}; Python 3.10 or later with venv and a way to PyPI are needed`,
  )
}
