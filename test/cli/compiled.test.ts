/** The command keeps compiled code in its home, so that the next run starts faster. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { builtCommand, sourceCommand } from '../helpers/built-command.ts'

const folder = mkdtempSync(join(tmpdir(), 'foretoken-compiled-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function version(command: string, env: NodeJS.ProcessEnv): string {
  const { stdout, stderr, status } = spawnSync(process.execPath, [command, '--version'], {
    env: { ...process.env, NODE_COMPILE_CACHE: '', ...env },
    encoding: 'utf8',
  })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return stdout
}

test('from its sources and as it ships it says the same', () => {
  expect(builtCommand).toMatch(/\.js$/)
  const env = { FORETOKEN_HOME: join(folder, 'same') }
  expect(version(builtCommand, env)).toBe(version(sourceCommand, env))
})

test.each([
  ['as it ships', builtCommand],
  ['from its sources', sourceCommand],
])('%s it keeps its code in its home, or where NODE_COMPILE_CACHE says', (name, command) => {
  const [home, elsewhere] = [join(folder, name), join(folder, `${name} elsewhere`)]
  version(command, { FORETOKEN_HOME: home })
  expect(readdirSync(join(home, 'code'))).not.toEqual([])
  const other = join(folder, `${name} other`)
  version(command, { FORETOKEN_HOME: other, NODE_COMPILE_CACHE: elsewhere })
  expect(existsSync(join(other, 'code'))).toBe(false)
  expect(readdirSync(elsewhere)).not.toEqual([])
})
