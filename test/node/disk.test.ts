import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { fileError, makeRoom, megabytes } from '../../node/disk.ts'
import { fileSource } from '../../node/file-source.ts'

test('a full disk, a missing file and other failures have distinct codes', () => {
  const failed = (code: string) => fileError(Object.assign(new Error(code), { code }), 'writing m.gguf')
  expect(failed('ENOSPC')).toMatchObject({ code: 'disk_full', message: expect.stringContaining('free some space') })
  expect(failed('EDQUOT').code).toBe('disk_full')
  expect(failed('ENOENT').code).toBe('not_found')
  expect(failed('EACCES')).toMatchObject({ code: 'io', message: 'writing m.gguf: EACCES' })
})

test('a download that cannot fit is refused before its first byte, with the numbers', async () => {
  await expect(makeRoom(tmpdir(), 1e18)).rejects.toMatchObject({
    code: 'disk_full',
    message: expect.stringMatching(/MB are needed .* MB are free/),
  })
  await makeRoom(tmpdir(), 1)
  expect([megabytes(10), megabytes(2e6), megabytes(98e6)]).toEqual(['1 kB', '2.0 MB', '98 MB'])
})

test('a file that shrinks while it is read causes an error, not zeros', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'foretoken-source-'))
  const path = join(folder, 'm.bin')
  await writeFile(path, new Uint8Array(100).fill(1))
  const source = await fileSource(path)
  const bytes = new Uint8Array(10)
  await source.read(90, bytes)
  expect(bytes).toEqual(new Uint8Array(10).fill(1))
  await expect(source.read(95, bytes)).rejects.toMatchObject({
    code: 'io',
    message: expect.stringContaining('100 bytes'),
  })
  await writeFile(path, new Uint8Array(50))
  await expect(source.read(60, bytes)).rejects.toMatchObject({
    code: 'io',
    message: expect.stringContaining('changed meanwhile'),
  })
  await source.close()
  await expect(fileSource(join(folder, 'none'))).rejects.toMatchObject({ code: 'not_found' })
  await rm(folder, { recursive: true })
})
