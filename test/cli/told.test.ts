/** What is said once. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { tellOfLarger } from '../../cli/told.ts'

afterEach(() => {
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
})

test('that larger models answer better is said once, on a terminal, to who chose no model', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'foretoken-told-'))
  vi.stubEnv('FORETOKEN_HOME', join(folder, 'home'))
  const said: string[] = []
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => said.push(String(text)) > 0)
  await tellOfLarger({}, false)
  await tellOfLarger({ json: true }, true)
  await tellOfLarger({ model: 'qwen3-0.6b' }, true)
  expect(said).toEqual([])
  await tellOfLarger({}, true)
  await tellOfLarger({}, true)
  expect(said).toHaveLength(1)
  expect(said[0]).toMatch(/larger models answer better: "foretoken ls --available"/)
  await rm(folder, { recursive: true, force: true })
})

test('where nothing can be kept, nothing is said and nothing fails', async () => {
  vi.stubEnv('FORETOKEN_HOME', '/dev/null/nowhere')
  const write = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
  await tellOfLarger({}, true)
  expect(write).not.toHaveBeenCalled()
})
