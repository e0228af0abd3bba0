/** Text workers of Deno and Bun: long prompts are read in one there, too. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const script = 'test/edge/hosts/text.ts'

for (const [name, file, args] of [
  ['Deno', 'node_modules/deno/deno', ['run', '-A', '--no-lock', '--node-modules-dir=manual', script]],
  ['Bun', 'node_modules/bun/bin/bun.exe', [script]],
] as const) {
  const path = `${root}/${file}`
  if (!existsSync(path)) test(`${name} is not installed: its package has no binary for this machine`, () => {})
  else
    test(`${name} reads a long prompt in a worker, which ends with its engine`, async () => {
      const { stdout } = await promisify(execFile)(path, args, { cwd: root })
      const { sent, ...rest } = JSON.parse(stdout)
      expect(rest).toEqual({ spawned: 1, long: 'context_exceeded', closed: 'aborted', turned: true })
      expect(sent.slice(0, 2)).toEqual(['opened', 'failed'])
    })
}
