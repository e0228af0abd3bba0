/** Workers of Deno and Bun: long prompts are read in one there, too, and grammars compiled in another. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))

for (const [name, file, args] of [
  ['Deno', 'node_modules/deno/deno', ['run', '-A', '--no-lock', '--node-modules-dir=manual']],
  ['Bun', 'node_modules/bun/bin/bun.exe', []],
] as const) {
  const path = `${root}/${file}`
  const report = async (script: string) =>
    JSON.parse((await promisify(execFile)(path, [...args, script], { cwd: root })).stdout)
  if (!existsSync(path)) test(`${name} is not installed: its package has no binary for this machine`, () => {})
  else {
    test(`${name} reads a long prompt in a worker, which ends with its engine`, async () => {
      const { sent, ...rest } = await report('test/edge/hosts/text.ts')
      expect(rest).toEqual({ spawned: 1, long: 'context_exceeded', closed: 'aborted', turned: true })
      expect(sent.slice(0, 2)).toEqual(['opened', 'failed'])
    })

    test(`${name} compiles a large schema and a wrong regex in a worker`, async () => {
      expect(await report('test/edge/hosts/guides.ts')).toEqual({
        came: ['opened', 'compiled', 'failed'],
        begins: '{"field 0":"',
        refused: 'bad_argument',
      })
    })
  }
}
